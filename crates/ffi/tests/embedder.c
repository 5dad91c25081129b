/* An embedding program in C: it holds an instance of libbaton and lets its parent play CPU and host.
 *
 * Frames on stdin and stdout: one byte what, four bytes length (little endian), the payload. The parent sends 'P' policy,
 * 'O' opening, 'R' request, 'K' epoch and label, 'L', 'X' (stop; what is lent, and was at most), each
 * answered by 'A': the result (4 bytes) and what was written.
 * Before it answers, the program may ask 'k' EGETKEY, 'e' EREPORT, 'r' random; the parent sends 'C': result and bytes.
 * In an enclave the callbacks are three instructions, and the parent is the other side of an ECALL.
 *
 * With the argument "misuse" it calls every function as it must not be called, and says what it found.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../baton.h"

static void die(const char *why) {
    fprintf(stderr, "embedder: %s\n", why);
    exit(3);
}

static void put(const void *data, size_t len) {
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(1, p, len);
        if (n <= 0) die("the parent does not read");
        p += n;
        len -= (size_t)n;
    }
}

/* Reads exactly `len` bytes; the end of the input is how the parent stops the program. */
static void get(void *data, size_t len) {
    uint8_t *p = data;
    while (len > 0) {
        ssize_t n = read(0, p, len);
        if (n <= 0) exit(0);
        p += n;
        len -= (size_t)n;
    }
}

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p) {
    return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
}

static void put_head(char what, size_t len) {
    uint8_t head[5] = {(uint8_t)what, (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24)};
    put(head, sizeof head);
}

/* The next frame; the caller frees. */
static uint8_t *get_frame(char *what, size_t *len) {
    uint8_t head[5];
    get(head, sizeof head);
    *what = (char)head[0];
    *len = le32(head + 1);
    uint8_t *data = malloc(*len + 1);
    if (!data) die("out of memory");
    get(data, *len);
    return data;
}

static int misuse;

/* Asks the parent's CPU; `len` bytes go to `out` when the result is 0. */
static int32_t ask(char what, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t *out, size_t len) {
    if (misuse) {
        memset(out, 7, len);
        return 0;
    }
    put_head(what, a_len + b_len);
    put(a, a_len);
    put(b, b_len);
    char answer;
    size_t got;
    uint8_t *data = get_frame(&answer, &got);
    if (answer != 'C' || got < 4) die("expected a callback's answer");
    int32_t result = (int32_t)le32(data);
    if (result == 0) {
        if (got != 4 + len) die("a callback's answer has another length");
        memcpy(out, data + 4, len);
    }
    free(data);
    return result;
}

int32_t baton_cb_get_key(const uint8_t *request, uint8_t *key) {
    return ask('k', request, 512, NULL, 0, key, 16);
}

int32_t baton_cb_report(const uint8_t *target_info, const uint8_t *report_data, uint8_t *report) {
    return ask('e', target_info, 512, report_data, 64, report, 432);
}

int32_t baton_cb_random(uint8_t *out, size_t len) {
    uint8_t n[4] = {(uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24)};
    return ask('r', n, sizeof n, NULL, 0, out, len);
}

/* Counted, so that what the library takes and does not give back shows. An ordinary build has memory of its own. */
static size_t lent, most;

void *baton_cb_alloc(size_t len, size_t align) {
    lent += len;
    if (lent > most) most = lent;
    return aligned_alloc(align, (len + align - 1) / align * align);
}

void baton_cb_free(void *data, size_t len, size_t align) {
    (void)align;
    lent -= len;
    free(data);
}

void baton_cb_abort(const uint8_t *file, size_t file_len, uint32_t line) {
    fprintf(stderr, "embedder: libbaton stopped at %.*s:%u\n", (int)file_len, (const char *)file, line);
    _exit(4);
}

static void answer(int32_t result, const uint8_t *data, size_t len) {
    uint8_t r[4] = {(uint8_t)result, (uint8_t)(result >> 8), (uint8_t)(result >> 16), (uint8_t)(result >> 24)};
    put_head('A', len + sizeof r);
    put(r, sizeof r);
    put(data, len);
}

static int failures;

static void expect(const char *what, int32_t got, int32_t expected) {
    if (got == expected) return;
    printf("%s: expected %d, got %d\n", what, expected, got);
    failures++;
}

static int all_misuse(void) {
    static const uint8_t text[4] = "abc";
    uint8_t key[32];
    baton_instance none = 99;
    baton_bytes out;
    baton_files files;
    misuse = 1;
    memset(&files, 0, sizeof files);

    expect("version", (int32_t)baton_abi_version(), (int32_t)BATON_ABI_VERSION);
    expect("start without a policy", baton_start(NULL, 0, &files, &none, &out), BATON_POLICY);
    expect("it says why", out.len > 0, 1);
    baton_bytes_free(&out);
    expect("a freed text is empty", out.len == 0 && out.data == NULL, 1);
    baton_bytes_free(&out);
    expect("no handle", none == 0, 1);
    expect("start, policy NULL", baton_start(NULL, 3, &files, &none, &out), BATON_ARGUMENT);
    expect("start, files NULL", baton_start(text, 3, NULL, &none, &out), BATON_ARGUMENT);
    expect("start, handle NULL", baton_start(text, 3, &files, NULL, NULL), BATON_ARGUMENT);
    expect("start, why NULL", baton_start(text, 3, &files, &none, NULL), BATON_POLICY);
    expect("start, length above memory", baton_start(text, SIZE_MAX, &files, &none, NULL), BATON_ARGUMENT);
    expect("start, around the end of memory", baton_start((const uint8_t *)(UINTPTR_MAX - 1), 3, &files, &none, NULL), BATON_ARGUMENT);
    files.custody_len = 3;
    expect("start, custody NULL", baton_start(text, 3, &files, &none, NULL), BATON_ARGUMENT);
    files.custody_len = 0;
    files.flags = 2;
    expect("start, unknown flag", baton_start(text, 3, &files, &none, NULL), BATON_ARGUMENT);

    expect("open, answer NULL", baton_open(text, 3, text, 3, &none, NULL), BATON_ARGUMENT);
    expect("open, handle NULL", baton_open(text, 3, text, 3, NULL, &out), BATON_ARGUMENT);
    expect("open, opening NULL", baton_open(text, 3, NULL, 3, &none, &out), BATON_ARGUMENT);
    expect("open, no opening", baton_open(text, 3, text, 3, &none, &out), BATON_OPENING);
    expect("it answers", out.len > 0, 1);
    baton_bytes_free(&out);

    expect("handle, none", baton_handle(0, text, 3, &out), BATON_HANDLE);
    expect("handle, unknown", baton_handle(12345, text, 3, &out), BATON_HANDLE);
    expect("handle, all ones", baton_handle(UINT64_MAX, text, 3, &out), BATON_HANDLE);
    expect("handle, response NULL", baton_handle(1, text, 3, NULL), BATON_ARGUMENT);
    expect("handle, request NULL", baton_handle(1, NULL, 3, &out), BATON_ARGUMENT);

    memset(key, 9, sizeof key);
    expect("app key, none", baton_app_key(1, 0, text, 3, key), BATON_HANDLE);
    expect("the key is wiped", key[0] == 0 && key[31] == 0, 1);
    expect("app key, NULL", baton_app_key(1, 0, text, 3, NULL), BATON_ARGUMENT);
    expect("app key, label NULL", baton_app_key(1, 0, NULL, 3, key), BATON_ARGUMENT);
    expect("app key, no UTF-8", baton_app_key(1, 0, (const uint8_t *)"\xff", 1, key), BATON_ARGUMENT);
    expect("legacy seed, none", baton_danger_legacy_seed(1, key), BATON_HANDLE);
    expect("legacy seed, NULL", baton_danger_legacy_seed(1, NULL), BATON_ARGUMENT);
    expect("stop, none", baton_stop(0), BATON_HANDLE);
    baton_bytes_free(NULL);
    expect("nothing is kept", lent == 0, 1);
    printf("%d failures\n", failures);
    return failures != 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "misuse") == 0) return all_misuse();
    if (baton_abi_version() != BATON_ABI_VERSION) die("the library has another ABI than the header");

    uint8_t *policy = NULL;
    size_t policy_len = 0;
    baton_instance instance = 0;
    for (;;) {
        char what;
        size_t len;
        uint8_t *data = get_frame(&what, &len);
        baton_bytes out = {NULL, 0};
        uint8_t key[32];
        size_t heap[2];
        int32_t result;
        switch (what) {
        case 'P':
            free(policy);
            policy = data;
            policy_len = len;
            answer(BATON_OK, NULL, 0);
            continue;
        case 'O':
            result = baton_open(policy, policy_len, data, len, &instance, &out);
            answer(result, out.data, out.len);
            break;
        case 'R':
            result = baton_handle(instance, data, len, &out);
            answer(result, out.data, out.len);
            break;
        case 'K':
            if (len < 8) die("a key needs an epoch");
            result = baton_app_key(instance, le64(data), data + 8, len - 8, key);
            answer(result, key, sizeof key);
            break;
        case 'L':
            result = baton_danger_legacy_seed(instance, key);
            answer(result, key, sizeof key);
            break;
        case 'X':
            result = baton_stop(instance);
            heap[0] = lent;
            heap[1] = most;
            answer(result, (const uint8_t *)heap, sizeof heap);
            break;
        default:
            die("an unknown frame");
        }
        baton_bytes_free(&out);
        free(data);
    }
}
