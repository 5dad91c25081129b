/* The six callbacks of baton.h for any enclave on x86-64: the instructions themselves, and the enclave's own malloc.
 *
 * Compile it into the enclave with the enclave's own compiler and flags. It needs nothing of an SDK, so it is the same
 * under Intel's SDK, Teaclave, Open Enclave and Gramine. Outside an enclave ENCLU faults.
 */
#include <stdlib.h>
#include <string.h>

#include "baton.h"

/* Leaves of ENCLU (Intel SDM vol. 3D, "ENCLU"). */
enum { EREPORT = 0, EGETKEY = 1 };

static uint64_t enclu(uint64_t leaf, const void *rbx, void *rcx, void *rdx) {
    __asm__ volatile("enclu" : "+a"(leaf), "+b"(rbx), "+c"(rcx), "+d"(rdx) : : "memory", "cc");
    return leaf;
}

/* Clears what a compiler might think nobody reads again. */
static void wipe(void *data, size_t len) {
    volatile uint8_t *p = data;
    while (len-- > 0) *p++ = 0;
}

int32_t baton_cb_get_key(const uint8_t *request, uint8_t *key) {
    /* KEYREQUEST lies at a multiple of 512, the key at one of 16. */
    uint8_t aligned[512] __attribute__((aligned(512)));
    uint8_t out[16] __attribute__((aligned(16)));
    memcpy(aligned, request, sizeof aligned);
    uint64_t rax = enclu(EGETKEY, aligned, out, NULL);
    if (rax == 0) memcpy(key, out, sizeof out);
    wipe(out, sizeof out);
    return rax > INT32_MAX ? -1 : (int32_t)rax;
}

int32_t baton_cb_report(const uint8_t *target_info, const uint8_t *report_data, uint8_t *report) {
    /* TARGETINFO and REPORT lie at multiples of 512, REPORTDATA at one of 128. */
    uint8_t target[512] __attribute__((aligned(512)));
    uint8_t data[64] __attribute__((aligned(128)));
    uint8_t out[512] __attribute__((aligned(512)));
    memcpy(target, target_info, sizeof target);
    memcpy(data, report_data, sizeof data);
    enclu(EREPORT, target, data, out);
    memcpy(report, out, 432);
    return 0;
}

static int rdrand(uint64_t *out) {
    /* Ten tries are what Intel recommends; more failures mean that there is none. */
    for (int i = 0; i < 10; i++) {
        uint8_t ok;
        __asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(ok) : : "cc");
        if (ok) return 1;
    }
    return 0;
}

int32_t baton_cb_random(uint8_t *out, size_t len) {
    while (len > 0) {
        uint64_t word;
        size_t n = len < sizeof word ? len : sizeof word;
        if (!rdrand(&word)) return 1;
        memcpy(out, &word, n);
        wipe(&word, sizeof word);
        out += n;
        len -= n;
    }
    return 0;
}

/* malloc aligns to 16. For more, the pointer that malloc gave stands in front of the one that is given out. */
void *baton_cb_alloc(size_t len, size_t align) {
    if (align <= 16) return malloc(len);
    if (len > SIZE_MAX - align - sizeof(void *)) return NULL;
    uint8_t *raw = malloc(len + align + sizeof(void *));
    if (!raw) return NULL;
    uintptr_t at = ((uintptr_t)raw + sizeof(void *) + align - 1) & ~((uintptr_t)align - 1);
    memcpy((void *)(at - sizeof(void *)), &raw, sizeof raw);
    return (void *)at;
}

void baton_cb_free(void *data, size_t len, size_t align) {
    (void)len;
    if (align > 16) memcpy(&data, (uint8_t *)data - sizeof(void *), sizeof data);
    free(data);
}

void baton_cb_abort(const uint8_t *file, size_t file_len, uint32_t line) {
    /* An OCALL that prints where would leave the enclave in the middle of a defect. */
    (void)file, (void)file_len, (void)line;
    for (;;) __asm__ volatile("ud2");
}
