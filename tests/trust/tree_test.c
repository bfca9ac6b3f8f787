/* tree_test -- RFC 6962 roots, proofs against the verifier, and the cases of transparency-dev/merkle. */
#include "../test.h"
#include "help.h"
#include "trust/tree.h"

enum { LEAVES_MAX = 300 };

/* The reference tree of the Certificate Transparency code base: eight leaves and the root after each. */
static const char *const ct_leaves[8] = { "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                          "606162636465666768696a6b6c6d6e6f" };
static const char *const ct_roots[8] = {
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static void reference_roots(void)
{
    struct tree_edge t = { 0 };
    uint8_t leaf[32], h[HASH_BYTES], root[HASH_BYTES];
    tree_edge_root(&t, root);
    CHECK(help_is_hex(root, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for (int i = 0; i < 8; i++) {
        tree_leaf_hash(h, leaf, help_hex(leaf, ct_leaves[i]));
        tree_edge_add(&t, h);
        tree_edge_root(&t, root);
        CHECK(help_is_hex(root, 32, ct_roots[i]));
    }
}

/* A store that recomputes: the leaf hashes of 300 leaves. */
static uint8_t leaves[LEAVES_MAX][HASH_BYTES];

static enum err_code read_leaves(void *ctx, unsigned level, uint64_t index, uint8_t out[HASH_BYTES], struct err *e)
{
    struct tree_edge t = { 0 };
    for (uint64_t i = index << level; i < (index + 1) << level; i++) {
        if (i >= LEAVES_MAX)
            return err_set(e, ERR_NOT_FOUND, "no leaf %d", (int)i);
        tree_edge_add(&t, leaves[i]);
    }
    tree_edge_root(&t, out);
    return ERR_OK;
}

static void edge_root_of(int size, uint8_t out[HASH_BYTES])
{
    struct tree_edge t = { 0 };
    for (int i = 0; i < size; i++)
        tree_edge_add(&t, leaves[i]);
    tree_edge_root(&t, out);
}

static void every_proof_holds(void)
{
    struct tree_proof p;
    struct err e;
    uint8_t roots[LEAVES_MAX + 1][HASH_BYTES], root[HASH_BYTES];
    for (int i = 0; i < LEAVES_MAX; i++)
        tree_leaf_hash(leaves[i], &i, sizeof i);
    for (int n = 0; n <= LEAVES_MAX; n++) {
        edge_root_of(n, roots[n]);
        CHECK_INT(tree_root((uint64_t)n, read_leaves, NULL, root, &e), ERR_OK);
        CHECK(!memcmp(root, roots[n], HASH_BYTES));
    }
    const int sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 255, 256, 257, 299, 300 };
    for (size_t s = 0; s < MEM_COUNT(sizes); s++) {
        uint64_t n = (uint64_t)sizes[s];
        for (uint64_t i = 0; i < n; i++) {
            CHECK_INT(tree_prove_leaf(i, n, read_leaves, NULL, &p, &e), ERR_OK);
            CHECK_INT(tree_check_leaf(leaves[i], i, n, &p, roots[n], &e), ERR_OK);
            if (n > 1)
                CHECK_INT(tree_check_leaf(leaves[(i + 1) % n], i, n, &p, roots[n], &e), ERR_DENIED);
        }
        for (uint64_t m = 0; m <= n; m++) {
            CHECK_INT(tree_prove_grown(m, n, read_leaves, NULL, &p, &e), ERR_OK);
            CHECK_INT(tree_check_grown(m, roots[m], n, roots[n], &p, &e), ERR_OK);
            if (m && m < n)
                CHECK_INT(tree_check_grown(m, roots[m - 1], n, roots[n], &p, &e), ERR_DENIED);
        }
        CHECK_INT(tree_prove_leaf(n, n, read_leaves, NULL, &p, &e), ERR_INVALID);
        CHECK_INT(tree_prove_grown(n + 1, n, read_leaves, NULL, &p, &e), ERR_INVALID);
    }
}

/* A leaf that is the concatenation of two hashes must not pass for the node above them. */
static void no_second_preimage(void)
{
    uint8_t both[64], node[HASH_BYTES], forged[HASH_BYTES];
    struct tree_proof none = { 0 };
    struct err e;
    memcpy(both, leaves[0], 32);
    memcpy(both + 32, leaves[1], 32);
    tree_node_hash(node, leaves[0], leaves[1]);
    tree_leaf_hash(forged, both, sizeof both);
    CHECK(memcmp(node, forged, HASH_BYTES) != 0);
    CHECK_INT(tree_check_leaf(forged, 0, 1, &none, node, &e), ERR_DENIED);
}

static bool hash_of(char *text, uint8_t out[HASH_BYTES])
{
    return strcmp(text, "-") && code_unbase64_exact(out, HASH_BYTES, span_of(text));
}

/* One line of merkle_cases.txt: does our verifier say what theirs says? */
static bool one_case(char *line)
{
    char kind[16], a[128], b[128], proof[2048], want[8];
    unsigned long long x = 0, y = 0;
    struct tree_proof p = { 0 };
    struct err e;
    uint8_t h1[HASH_BYTES], h2[HASH_BYTES];
    if (sscanf(line, "%15s %llu %llu %127s %127s %2047s %7s", kind, &x, &y, a, b, proof, want) != 7)
        return false;
    bool ok = hash_of(a, h1) && hash_of(b, h2);
    char *save = NULL;
    if (strcmp(proof, "-"))
        for (char *s = strtok_r(proof, ",", &save); s && ok; s = strtok_r(NULL, ",", &save))
            ok = p.count < TREE_PROOF_MAX && hash_of(s, p.hash[p.count++]);
    if (ok)
        ok = !(strcmp(kind, "inclusion") ? tree_check_grown(x, h1, y, h2, &p, &e)
                                         : tree_check_leaf(h1, x, y, &p, h2, &e));
    if (ok != !strcmp(want, "ok"))
        printf("# %s", line);
    return ok == !strcmp(want, "ok");
}

static void merkle_cases(void)
{
    FILE *f = fopen("tests/trust/merkle_cases.txt", "r");
    char line[4096];
    int n = 0;
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        if (line[0] == '#')
            continue;
        CHECK(one_case(line));
        n++;
    }
    if (f)
        fclose(f);
    CHECK_INT(n, 195);
}

int main(void)
{
    if (trust_init(NULL))
        return 1;
    RUN(reference_roots);
    RUN(every_proof_holds);
    RUN(no_second_preimage);
    RUN(merkle_cases);
    DONE();
}
