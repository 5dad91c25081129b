/* libbaton: the custody of a network's seed, for an SGX enclave that exists already.
 *
 * The library is the whole trusted program of Baton: it holds the keyring, verifies the chain, the vote and
 * attestations by itself, and hands the keyring to a build that the network voted for. The embedding enclave
 * calls it with requests that its host brings, and gives it a CPU through six callbacks. The enclave's own code
 * never sees a seed; it gets keys that are derived from one.
 *
 * Trust. Everything in a request, an opening or a file comes from the host, who is the adversary: pass it on as
 * it came. The callbacks, the policy and the handle are the enclave's own: never take any of them from outside.
 *
 * Memory. All pointers are to memory inside the enclave. Input is read during the call only, and must not
 * change meanwhile: copy what a host points to before the call (an EDL `[in]` does). Output that the library
 * allocates is a `baton_bytes`, which the caller gives back with baton_bytes_free.
 *
 * Threads. Any thread may call. One instance serves one call at a time; a second one gets BATON_BUSY, and so does
 * a callback that calls its own instance.
 *
 * Stops. The library does not unwind and sets no signal handler. Where it cannot go on (no memory, no randomness,
 * no report, a defect in it) it calls baton_cb_abort. Nothing is lost: sealed files are written before anything
 * is said, and starting again from them is the ordinary path.
 *
 * All lengths are in bytes. Numbers in structures are little endian, as the CPU has them.
 */
#ifndef BATON_H
#define BATON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. It grows when anything below changes its meaning. Compare it with baton_abi_version
 * before anything else. */
#define BATON_ABI_VERSION 1u

/* Largest request that is read: 72 MiB. A host should be held to less; 8 MiB take any ordinary evidence. Have memory
 * for four times the request, and 4 MiB. */
#define BATON_MAX_REQUEST_BYTES 75497472u
/* Longest label of baton_app_key. */
#define BATON_MAX_LABEL_BYTES 64u
/* Instances that can run at once. */
#define BATON_MAX_INSTANCES 4u

/* Results. Nothing has changed unless a function returned BATON_OK. */
enum {
    BATON_OK = 0,
    BATON_ARGUMENT = 1,  /* a pointer is NULL that must not be, or is misaligned; a length is no length; a text is no UTF-8 */
    BATON_HANDLE = 2,    /* no instance has this handle: it was stopped, or never was one */
    BATON_BUSY = 3,      /* the instance is inside another call */
    BATON_TOO_MANY = 4,  /* BATON_MAX_INSTANCES run */
    BATON_POLICY = 5,    /* the policy is refused: no deterministic CBOR of one, or it does not hold together */
    BATON_PLATFORM = 6,  /* baton_cb_report failed, or its REPORT has a reserved field in use */
    BATON_DAMAGED = 7,   /* the custody file is damaged: try the older generation */
    BATON_REFUSED = 8,   /* the custody file is refused for another reason, which an older file would only hide:
                            other machine or build, firmware downgraded. The text names the way back */
    BATON_NO_KEY = 9,    /* the app may not use the keyring now, or no such epoch is held */
    BATON_OPENING = 10   /* the opening cannot be read */
};

/* ---- What the embedding enclave provides. All six must be defined; none may unwind or long-jump. ---- */

/* EGETKEY. `request` is a KEYREQUEST of 512 bytes (Intel SDM vol. 3D), aligned to nothing: copy it to an aligned
 * place. KEYNAME is SEAL (4) or REPORT (3). Writes the key, 16 bytes, and returns 0; or returns what EGETKEY left in
 * RAX: 2 invalid attribute, 32 invalid CPUSVN, 64 invalid ISVSVN, 256 invalid key name; any other number: the
 * instruction faulted. It must be EGETKEY's key for this very request: one that ignores KEYPOLICY gives away what is
 * sealed under MRENCLAVE. */
int32_t baton_cb_get_key(const uint8_t *request, uint8_t *key);

/* EREPORT. `target_info` is a TARGETINFO of 512 bytes, `report_data` has 64; neither is aligned. Writes the REPORT,
 * 432 bytes, and returns 0, or returns something else. Who this enclave is, and its CPUSVN, are read from it. */
int32_t baton_cb_report(const uint8_t *target_info, const uint8_t *report_data, uint8_t *report);

/* Fills `out` with `len` random bytes of the CPU (RDRAND, sgx_read_rand) and returns 0. Anything else stops the
 * library: seeds and one-time keys are made from it. */
int32_t baton_cb_random(uint8_t *out, size_t len);

/* `len` bytes of memory inside the enclave at a multiple of `align` (a power of two, mostly at most 16), or NULL:
 * then the library stops. memalign(align, len) does. `len` is not 0. */
void *baton_cb_alloc(size_t len, size_t align);

/* Takes back what baton_cb_alloc gave, with the same `len` and `align`. */
void baton_cb_free(void *data, size_t len, size_t align);

/* Stops the enclave; must not return (a trap follows if it does). `file` (`file_len` bytes, no final zero) and
 * `line` say where in the library; they hold nothing secret. */
void baton_cb_abort(const uint8_t *file, size_t file_len, uint32_t line);

/* ---- What the library does. ---- */

/* A running instance: a number that is never used twice. 0 is none. */
typedef uint64_t baton_instance;

/* Memory of the library. `data` is NULL when `len` is 0. */
typedef struct {
    uint8_t *data;
    size_t len;
} baton_bytes;

/* Leave the app switched off: sealed file, light blocks, proofs and handover, and no key for the app. */
#define BATON_CUSTODY_ONLY 1u

/* What the host found on its disk. */
typedef struct {
    const uint8_t *custody; /* the newest custody file; NULL if there is none */
    size_t custody_len;
    const uint8_t *rehearsal; /* the newest rehearsal file; NULL if there is none */
    size_t rehearsal_len;
    uint64_t seen_custody; /* the highest generation of a custody file on disk, readable or not; 0 if there is none */
    uint64_t seen_rehearsal;
    uint32_t flags; /* BATON_CUSTODY_ONLY or 0 */
} baton_files;

/* BATON_ABI_VERSION of the library. */
uint32_t baton_abi_version(void);

/* Starts an instance.
 * `policy`: deterministic CBOR (`baton policy show` prints it for a TOML file). It must lie in measured pages of this
 *     enclave: a policy that a host can choose is no policy.
 * `files`: see there. Without a custody file the instance starts empty.
 * `handle`: gets the instance, or 0.
 * `why`: if not NULL, gets a text for people (UTF-8, no final zero) where a file or the policy is refused. Free it.
 * Returns BATON_OK, _ARGUMENT, _TOO_MANY, _POLICY, _PLATFORM, _DAMAGED or _REFUSED. */
int32_t baton_start(const uint8_t *policy, size_t policy_len, const baton_files *files, baton_instance *handle,
                    baton_bytes *why);

/* The same for an enclave whose host speaks Baton's enclave link: `opening` is the first frame (without its length),
 * `answer` what to send back, also where the start is refused. Each later frame goes through baton_handle.
 * Returns what baton_start does, or BATON_OPENING. `answer` is empty after BATON_ARGUMENT and BATON_TOO_MANY. */
int32_t baton_open(const uint8_t *policy, size_t policy_len, const uint8_t *opening, size_t opening_len,
                   baton_instance *handle, baton_bytes *answer);

/* Handles one request of the host: CBOR, the bytes that Baton's own enclave takes. `response` gets the CBOR to send
 * back; a refusal is a response, too. The embedding enclave need not understand either.
 * Returns BATON_OK, _ARGUMENT, _HANDLE or _BUSY. */
int32_t baton_handle(baton_instance handle, const uint8_t *request, size_t request_len, baton_bytes *response);

/* The key of the enclave's own code named `label` (UTF-8, 1 to BATON_MAX_LABEL_BYTES bytes, not "vault") for `epoch`:
 * 32 bytes, HKDF-SHA256 of that epoch's seed with chain id, epoch and label, the same in every build that holds the seed.
 * Given while this copy serves and nothing waits for the disk; the caller erases it after use.
 * Returns BATON_OK, _ARGUMENT, _HANDLE, _BUSY or _NO_KEY; `key` is all zeros unless BATON_OK. */
int32_t baton_app_key(baton_instance handle, uint64_t epoch, const uint8_t *label, size_t label_len, uint8_t *key);

/* The seed of epoch 0 itself, 32 bytes, for a network whose state is encrypted under keys that it derives from that
 * seed in its own way. Given only while status says that epoch 0 is exposed (it was sealed under MRSIGNER, and so was
 * outside this library before): a seed that was born here never leaves it. Conditions and results as baton_app_key.
 * Cease to call it when state has been re-encrypted under baton_app_key. */
int32_t baton_danger_legacy_seed(baton_instance handle, uint8_t *seed);

/* Stops an instance and wipes its secrets. Its files are what they were.
 * Returns BATON_OK, _HANDLE or _BUSY. */
int32_t baton_stop(baton_instance handle);

/* Gives back what a function wrote to `bytes`, and empties it; NULL and empty ones are fine. */
void baton_bytes_free(baton_bytes *bytes);

#ifdef __cplusplus
}
#endif

#endif
