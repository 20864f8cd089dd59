// Matrix products over packed panels: the one micro-kernel scheme of every linear, q.K and p.V.
//
// A *word* is four bytes of the dimension that is summed over: one fp32 or two bf16. A is row-major words. B is packed
// in panels of NR * 16 columns, word after word, so that one word of a panel is NR cache lines, read in order:
//
//     panel:   word 0: | col 0..15 | col 16..31 | ...   word 1: | col 0..15 | ...
//
// A tile is `mr` rows of A times one panel: mr * NR accumulators of 16 columns stay in registers while the panel
// streams by once, each word of A broadcast to a vector. 12 x 32 fills 24 of the 32 registers of AVX-512, and each line
// of B is used 12 times. With AMX the same panel is read as tiles: 16 words of 16 columns are one B tile, with the
// panel's word as its stride, and 32 x 32 accumulators stay in four of the eight tile registers.
//
// What always holds: each output is summed over the words in order, in one accumulator, so a row's result does not
// depend on how many rows there are (batch invariance). Sums of words are padded with zeros to whole tiles.

#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

typedef uint32_t word;

enum Kind { FP32 = 0, BF16 = 1, AMX = 2 };
enum { TILE_WORDS = 16, PANEL = 32, BLOCK = 64 };  // words of a tile; columns of a linear's panel; tokens of a KV block

static inline long up(long n, long to) { return (n + to - 1) / to * to; }

// Zeroed memory that takes no room until it is written. Large pages: a panel streams through thousands of small ones.
static inline char* reserve(size_t bytes) {
  size_t page = size_t(2) << 20, size = (bytes + 2 * page - 1) / page * page;
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  madvise(at, size, MADV_HUGEPAGE);
  return (char*)at;
}
static inline void release(void* at, size_t bytes) {
  size_t page = size_t(2) << 20;
  if (at) munmap(at, (bytes + 2 * page - 1) / page * page);
}

static inline uint16_t to_bf16(float value) {  // to nearest, ties to even; a NaN stays one
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 0x40);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static inline __m512 from_bf16(const uint16_t* at) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at)), 16));
}

struct Fp32 {
  static constexpr int kind = FP32, per_word = 1, rows = 12, attention_rows = 6;
  static inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static inline void put(void* row, long at, __m512 v) { _mm512_storeu_ps((float*)row + at, v); }
};

#ifdef __AVX512BF16__
struct Bf16 {
  static constexpr int kind = BF16, per_word = 2, rows = 12, attention_rows = 6;
  static inline __m512 dot(__m512 sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
  static inline void put(void* row, long at, __m512 v) {
    _mm256_storeu_si256((__m256i*)((uint16_t*)row + at), (__m256i)_mm512_cvtneps_pbh(v));
  }
};
#endif
#if defined(__AVX512BF16__) && defined(__AMX_BF16__)
struct Amx : Bf16 {
  static constexpr int kind = AMX, rows = 32, attention_rows = 16;
};
#endif

// sums[MR][NR * 16] (+)= A[MR rows, lda words apart] * B. `ahead` is fetched meanwhile, one line a line of B.
template <class T, int MR, int NR>
static inline void tile(const word* A, long lda, const char* B, long words, float* sums, bool add, const char* ahead) {
  __m512 sum[MR][NR];
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NR; j++) sum[i][j] = add ? _mm512_loadu_ps(sums + (i * NR + j) * 16) : _mm512_setzero_ps();
  for (long k = 0; k < words; k++) {
    __m512i b[NR];
#pragma GCC unroll 4
    for (int j = 0; j < NR; j++) {
      b[j] = _mm512_load_si512(B + (k * NR + j) * 64);
      if (ahead) _mm_prefetch(ahead + (k * NR + j) * 64, _MM_HINT_T1);
    }
#pragma GCC unroll 12
    for (int i = 0; i < MR; i++) {
      __m512i a = _mm512_set1_epi32(int(A[i * lda + k]));
#pragma GCC unroll 4
      for (int j = 0; j < NR; j++) sum[i][j] = T::dot(sum[i][j], a, b[j]);
    }
  }
  for (int i = 0; i < MR; i++)
    for (int j = 0; j < NR; j++) _mm512_storeu_ps(sums + (i * NR + j) * 16, sum[i][j]);
}

// Any number of rows up to T::rows (NR = 2) or T::attention_rows (NR = 4).
template <class T, int NR>
struct Product {
  // Sums of columns from `used` on are not needed; a kind may compute them all the same.
  static void run(int rows, const word* A, long lda, const char* B, long words, float* sums, bool add,
                  const char* ahead, int = NR * 16) {
    while (rows > 0) {
      int done;
#define ROWS(n)                                        \
  if (n * NR <= 24 && rows >= n) {                     \
    tile<T, n * NR <= 24 ? n : 1, NR>(A, lda, B, words, sums, add, ahead); \
    done = n;                                          \
  } else
      ROWS(12) ROWS(8) ROWS(6) ROWS(4) ROWS(3) ROWS(2) {
        tile<T, 1, NR>(A, lda, B, words, sums, add, ahead);
        done = 1;
      }
#undef ROWS
      rows -= done, A += done * lda, sums += done * NR * 16, ahead = nullptr;
    }
  }
};

#if defined(__AVX512BF16__) && defined(__AMX_BF16__)
// Written as assembly because the intrinsics of GCC 12 do not say that they read and write memory.
#define TILE_LOAD(tile, at, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"((const void*)(at)), "r"(long(stride)) : "memory")
#define TILE_STORE(tile, at, stride) \
  asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"((void*)(at)), "r"(long(stride)) : "memory")
#define TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::)
#define TILE_DOT(sum, a, b) asm volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum ::)

// Rows beyond the asked ones are read and summed, too, and never looked at: buffers of A are that much longer.
template <>
struct Product<Amx, 2> {
  template <bool two>
  static inline void tiles(const word* A, long lda, const char* B, long words, float* sums, const char* ahead) {
    TILE_ZERO(0); TILE_ZERO(1);
    if (two) { TILE_ZERO(2); TILE_ZERO(3); }
    for (long k = 0; k < words; k += TILE_WORDS) {
      TILE_LOAD(6, B + k * 128, 128);
      TILE_LOAD(7, B + k * 128 + 64, 128);
      TILE_LOAD(4, A + k, lda * 4);
      if (ahead)
        for (int line = 0; line < 2 * TILE_WORDS; line++) _mm_prefetch(ahead + k * 128 + line * 64, _MM_HINT_T1);
      TILE_DOT(0, 4, 6); TILE_DOT(1, 4, 7);
      if (two) {
        TILE_LOAD(5, A + 16 * lda + k, lda * 4);
        TILE_DOT(2, 5, 6); TILE_DOT(3, 5, 7);
      }
    }
    TILE_STORE(0, sums, 128); TILE_STORE(1, sums + 16, 128);
    if (two) { TILE_STORE(2, sums + 16 * 32, 128); TILE_STORE(3, sums + 16 * 32 + 16, 128); }
  }
  static void run(int rows, const word* A, long lda, const char* B, long words, float* sums, bool, const char* ahead) {
    rows > 16 ? tiles<true>(A, lda, B, words, sums, ahead) : tiles<false>(A, lda, B, words, sums, ahead);
  }
};
template <>
struct Product<Amx, 4> {
  static void run(int, const word* A, long lda, const char* B, long words, float* sums, bool add, const char*,
                  int used = BLOCK) {
    if (add) {
      TILE_LOAD(0, sums, 256); TILE_LOAD(1, sums + 16, 256); TILE_LOAD(2, sums + 32, 256); TILE_LOAD(3, sums + 48, 256);
    } else {
      TILE_ZERO(0); TILE_ZERO(1); TILE_ZERO(2); TILE_ZERO(3);
    }
    for (long k = 0; k < words; k += TILE_WORDS) {
      const char* b = B + k * 256;
      TILE_LOAD(4, A + k, lda * 4);
      TILE_LOAD(5, b, 256); TILE_DOT(0, 4, 5);
      if (used > 16) { TILE_LOAD(6, b + 64, 256); TILE_DOT(1, 4, 6); }
      if (used > 32) { TILE_LOAD(7, b + 128, 256); TILE_DOT(2, 4, 7); }
      if (used > 48) { TILE_LOAD(5, b + 192, 256); TILE_DOT(3, 4, 5); }
    }
    TILE_STORE(0, sums, 256); TILE_STORE(1, sums + 16, 256); TILE_STORE(2, sums + 32, 256); TILE_STORE(3, sums + 48, 256);
  }
};
// Eight tiles of 16 rows of 64 bytes; loaded by each thread before its first tile.
static inline void tiles_on() {
  struct alignas(64) { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {};
  shape.palette = 1;
  for (int tile = 0; tile < 8; tile++) shape.bytes[tile] = 64, shape.rows[tile] = 16;
  asm volatile("ldtilecfg %0" ::"m"(shape));
}
static inline void tiles_off() { asm volatile("tilerelease" ::); }
#else
static inline void tiles_on() {}
static inline void tiles_off() {}
#endif

// A weight [n, k] in panels of 32 columns, each `words` long (k padded with zeros), and a bias.
struct Linear {
  int n = 0, k = 0, columns = 0;
  long words = 0;
  int per_word = 1;
  char* panels = nullptr;
  float* bias = nullptr;

  long panel() const { return words * PANEL * 4; }
  size_t bytes() const { return size_t(panel()) * (columns / PANEL + 1); }  // and one to fetch beyond the last

  bool shape(int n_, int k_, int kind) {
    n = n_, k = k_, per_word = kind == FP32 ? 1 : 2;
    columns = int(up(n, PANEL)), words = up(up(k, per_word) / per_word, TILE_WORDS);
    panels = reserve(bytes());
    bias = (float*)calloc(size_t(columns), 4);
    return panels && bias;
  }
  ~Linear() {
    release(panels, bytes());
    free(bias);
  }
  // Rows of `weight` (fp32, or bf16 when `half`) become columns first, first + 1, ...; with `groups` of 2 every other
  // 16 of them, so that a gate and its up-projection end in one tile.
  void pack(const void* weight, bool half, int rows, int first, int groups, const float* its_bias) {
    for (int r = 0; r < rows; r++) {
      int column = first + r / 16 * 16 * groups + r % 16;
      char* to = panels + column / PANEL * panel() + column % PANEL * 4;
      if (its_bias) bias[column] = its_bias[r];
      if (half && per_word == 2 && k % 2 == 0) {
        const word* from = (const word*)((const uint16_t*)weight + long(r) * k);
        for (long i = 0; i < k / 2; i++) *(word*)(to + i * PANEL * 4) = from[i];
        continue;
      }
      for (int i = 0; i < k; i++) {
        uint32_t bits = half ? uint32_t(((const uint16_t*)weight)[long(r) * k + i]) << 16 : 0;
        float value;
        if (half) memcpy(&value, &bits, 4);
        else value = ((const float*)weight)[long(r) * k + i];
        if (per_word == 1) *(float*)(to + long(i) * PANEL * 4) = value;
        else ((uint16_t*)(to + long(i / 2) * PANEL * 4))[i % 2] = to_bf16(value);
      }
    }
  }
};

// Thread `thread` of `threads` computes its share of panels for all rows. `out(row, column, sums)` is given 32 sums,
// without the bias. While a panel is multiplied with its first rows, the next one is fetched.
template <class T, class Out>
static inline void multiply(const Linear& linear, const word* A, long lda, int rows, int thread, int threads, Out&& out) {
  int panels = linear.columns / PANEL;
  int first = int(long(panels) * thread / threads), last = int(long(panels) * (thread + 1) / threads);
  alignas(64) float sums[T::rows * PANEL];
  int parts = (rows + T::rows - 1) / T::rows;
  for (int p = first; p < last; p++) {
    const char* B = linear.panels + p * linear.panel();
    for (int part = 0; part < parts; part++) {
      // Equal parts rather than full ones and a rest: a tile of one row is the slowest.
      int from = T::kind == AMX ? part * T::rows : int(long(rows) * part / parts);
      int to = T::kind == AMX ? (from + T::rows < rows ? from + T::rows : rows) : int(long(rows) * (part + 1) / parts);
      Product<T, 2>::run(to - from, A + from * lda, lda, B, linear.words, sums, false,
                         part == 0 ? B + linear.panel() : nullptr);
      for (int r = from; r < to; r++) out(r, p * PANEL, sums + (r - from) * PANEL);
    }
  }
}
