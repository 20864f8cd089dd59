// One call runs one step of a decoder-only model: from token ids to the likeliest next ids, and logits where asked for.
//
// The rows of a step are those of all its segments, one after the other: one row of a sequence that decodes, many of a
// prompt's chunk. A layer is described by data (see `Layer`), so one program runs Llama, Mistral, Qwen, Gemma. Between
// layers rows are kept in fp32; what a product reads is rounded to the kind of its words.
//
// All threads run the whole step, meeting at a barrier after each product: threads are woken once a step. A linear is
// shared out by columns, rows of norms by row, attention by tasks of a few tokens and one key head.
//
// Keys and values lie in blocks of 64 tokens, packed as panels of 64 columns, so that q.K and p.V are products, too:
//
//     K of a layer and head:   word of the head's size x 64 tokens        (summed over the size of a head)
//     V of a layer and head:   for each 64 of the head's size: word of 64 tokens x 64   (summed over tokens)
//
// A sequence is a table of blocks. What is masked is never looked at, but V is summed with weights of zero: so a block's
// V is cleared when its first token is written.

#include "kernels.h"

#include <sched.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <functional>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

// ---- threads

struct Pool {
  explicit Pool(int threads) : size(threads) {
    for (int t = 1; t < threads; t++) workers.emplace_back([this, t] { work(t); });
  }
  ~Pool() {
    { std::lock_guard<std::mutex> lock(mutex); ends = true; }
    start.notify_all();
    for (auto& worker : workers) worker.join();
  }
  void run(const std::function<void(int)>& job) {  // on all threads, this one being thread 0
    busy = size - 1;
    { std::lock_guard<std::mutex> lock(mutex); current = &job, jobs++; }
    start.notify_all();
    job(0);
    for (int spins = 0; busy.load(std::memory_order_acquire) > 0;) rest(spins);
  }
  void meet() {  // a barrier; a thread that waits long gives its core away
    if (size == 1) return;
    int round = rounds.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
      arrived.store(0, std::memory_order_relaxed);
      rounds.store(round + 1, std::memory_order_release);
    } else {
      for (int spins = 0; rounds.load(std::memory_order_acquire) == round;) rest(spins);
    }
  }
  const int size;

 private:
  static void rest(int& spins) {
    _mm_pause();
    if (++spins > 4000) spins = 0, sched_yield();
  }
  void work(int thread) {
    for (long seen = 0;;) {
      const std::function<void(int)>* job;
      {
        std::unique_lock<std::mutex> lock(mutex);
        start.wait(lock, [&] { return ends || jobs != seen; });
        if (ends) return;
        seen = jobs, job = current;
      }
      (*job)(thread);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable start;
  const std::function<void(int)>* current = nullptr;
  long jobs = 0;
  bool ends = false;
  std::atomic<int> busy{0}, arrived{0}, rounds{0};
};

// ---- functions of vectors

static inline __m512 exp16(__m512 x) {  // within 2 ulp; Cephes' polynomial
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.f)), _mm512_set1_ps(88.f));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p, n);
}
static inline __m512 one_over(__m512 x) { return _mm512_div_ps(_mm512_set1_ps(1.f), x); }
static inline __m512 sigmoid(__m512 x) {
  return one_over(_mm512_add_ps(_mm512_set1_ps(1.f), exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}
static inline __m512 tanh16(__m512 x) {  // 2 sigmoid(2x) - 1
  return _mm512_fmsub_ps(_mm512_set1_ps(2.f), sigmoid(_mm512_add_ps(x, x)), _mm512_set1_ps(1.f));
}
static inline __m512 capped(__m512 x, float cap) {
  return _mm512_mul_ps(_mm512_set1_ps(cap), tanh16(_mm512_mul_ps(x, _mm512_set1_ps(1.f / cap))));
}
static inline __m512 gelu_tanh(__m512 x) {  // x sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3)
  __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
  __m512 z = _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), cube, x);
  return _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(z, _mm512_set1_ps(1.5957691216f))));
}
static inline __m512 inverse_rms(const float* x, int n, float eps) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < n; i += 16) {
    __m512 v = _mm512_loadu_ps(x + i);
    sum = _mm512_fmadd_ps(v, v, sum);
  }
  return _mm512_set1_ps(1.f / sqrtf(_mm512_reduce_add_ps(sum) / float(n) + eps));
}
static inline __m512 normed(const float* x, int i, __m512 scale, const float* weight) {
  return _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + i), scale), _mm512_loadu_ps(weight + i));
}

// ---- what Python describes; the same fields in the same order as in library.py

struct Shape {
  int32_t kind, layers, hidden, heads, key_heads, head, inner, vocabulary;
  int32_t max_rows, max_tokens, blocks, activation /* 0 silu, 1 gelu(tanh) */, half_embedding;
  float eps, query_scale, score_cap, logit_cap, embedding_scale /* caps: 0 is none */;
};
static inline int per_word(const Shape& s) { return s.kind == FP32 ? 1 : 2; }
static inline long head_words(const Shape& s) { return up(up(s.head, per_word(s)) / per_word(s), TILE_WORDS); }
static inline long key_bytes(const Shape& s) { return head_words(s) * BLOCK * 4; }
static inline long value_bytes(const Shape& s) { return up(s.head, BLOCK) * (BLOCK / per_word(s)) * 4; }

struct Layer {  // norms: fp32 or null; `window` 0 is none; `rotary` chooses a table
  const float *norm_before_attention, *norm_after_attention, *norm_before_mlp, *norm_after_mlp, *query_norm, *key_norm;
  int32_t window, rotary;
};
struct Step {
  int32_t segments, wanted, wanted_logits, reserved;
  const int32_t *starts, *lengths, *tables /* offset of a segment's block table in `blocks` */, *blocks, *ids;
  const int32_t *want_rows, *want_logits /* its row in `logits`, or -1 */;
  int32_t* likeliest;  // -1 where no logit is finite
  float* logits;       // [wanted_logits, head.columns]
};

struct Model {
  Shape s;
  Pool* pool;
  std::vector<Layer> layers;
  std::vector<std::vector<float>> kept;  // norms and rotary tables, copied
  struct Linears { Linear qkv, out, up, down; };
  std::vector<Linears> linears;
  Linear head;
  const float *cosines[2] = {}, *sines[2] = {};  // [max_tokens, head / 2]
  const void* embedding = nullptr;
  const float* last_norm = nullptr;
  char* cache = nullptr;
  long head_words = 0, key_bytes = 0, value_bytes = 0, block_bytes = 0;
  std::vector<float> x, y;            // residual stream; what a product gives
  std::vector<word> in, q, mixed, up;  // rows as products read them; the columns of padding stay zero
  std::vector<std::vector<float>> scratch;

  int group() const { return s.heads / s.key_heads; }
  char* keys(int block, int layer, int head) const {
    return cache + block * block_bytes + (long(layer) * s.key_heads + head) * (key_bytes + value_bytes);
  }
  char* values(int block, int layer, int head) const { return keys(block, layer, head) + key_bytes; }
  const float* keep(const float* from, long n) {
    if (!from) return nullptr;
    kept.emplace_back(from, from + n);
    return kept.back().data();
  }
};

// ---- attention

struct Piece { int row, count, start, segment; };  // rows of one segment, the first at position `start`

// Norm and rotation of one head's row; the result is in `to`, fp32.
static inline void rotate(const Model& m, const float* from, const float* norm, const float* cos, const float* sin,
                          float scale, float* to) {
  const int half = m.s.head / 2;
  __m512 inverse = norm ? inverse_rms(from, m.s.head, m.s.eps) : _mm512_setzero_ps(), by = _mm512_set1_ps(scale);
  for (int i = 0; i < half; i += 16) {
    __m512 a = norm ? normed(from, i, inverse, norm) : _mm512_loadu_ps(from + i);
    __m512 b = norm ? normed(from, half + i, inverse, norm) : _mm512_loadu_ps(from + half + i);
    __m512 c = _mm512_loadu_ps(cos + i), s = _mm512_loadu_ps(sin + i);
    _mm512_storeu_ps(to + i, _mm512_mul_ps(by, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c))));
    _mm512_storeu_ps(to + half + i, _mm512_mul_ps(by, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c))));
  }
}

// Rotates queries and keys of a piece within one block, for one key head, and writes keys and values to that block.
template <class T>
static void remember(Model& m, const Layer& layer, int index, const Piece& piece, int block, int kh) {
  const int D = m.s.head, G = m.group(), half = D / 2, words = int(m.head_words);
  char *K = m.keys(block, index, kh), *V = m.values(block, index, kh);
  alignas(64) float turned[512];
  alignas(64) word packed[512] = {};
  if (piece.start % BLOCK == 0) memset(V, 0, size_t(m.value_bytes));
  for (int i = 0; i < piece.count; i++) {
    const int row = piece.row + i, position = piece.start + i, at = position % BLOCK;
    const float* y = m.y.data() + long(row) * m.linears[index].qkv.columns;
    const float *cos = m.cosines[layer.rotary] + long(position) * half, *sin = m.sines[layer.rotary] + long(position) * half;
    for (int g = 0; g < G; g++) {
      rotate(m, y + (kh * G + g) * D, layer.query_norm, cos, sin, m.s.query_scale, turned);
      word* q = m.q.data() + (long(row) * m.s.heads + kh * G + g) * words;
      for (int d = 0; d < D; d += 16) T::put(q, d, _mm512_load_ps(turned + d));
    }
    rotate(m, y + (m.s.heads + kh) * D, layer.key_norm, cos, sin, 1.f, turned);
    for (int d = 0; d < D; d += 16) T::put(packed, d, _mm512_load_ps(turned + d));
    for (int w = 0; w < words; w++) ((word*)K)[w * BLOCK + at] = packed[w];
    const float* v = y + (m.s.heads + m.s.key_heads + kh) * D;
    for (int d = 0; d < D; d += 16) {
      char* to = V + (d / BLOCK * (BLOCK / T::per_word) + at / T::per_word) * BLOCK * 4L + d % BLOCK * 4;
      __m512 value = _mm512_loadu_ps(v + d);
      if (T::per_word == 1) {
        _mm512_storeu_ps(to, value);
      } else {  // one half of 16 words
        alignas(32) uint16_t bits[16];
        T::put(bits, 0, value);
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_load_si256((__m256i*)bits)), old = _mm512_loadu_si512(to);
        wide = at % 2 ? _mm512_or_si512(_mm512_and_si512(old, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(wide, 16))
                      : _mm512_or_si512(_mm512_andnot_si512(_mm512_set1_epi32(0xffff), old), wide);
        _mm512_storeu_si512(to, wide);
      }
    }
  }
}

// Scores of one row to weights, in place: from fp32 to the kind's words. Returns their sum. `blocks` tiles of `rows` x 64.
template <class T>
static float soften(float* scores, int rows, int blocks, int low, int high, float cap) {  // low <= token < high
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  auto seen = [&](int at) {
    __m512i token = _mm512_add_epi32(lanes, _mm512_set1_epi32(at));
    return _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(token, _mm512_set1_epi32(low)), token,
                                        _mm512_set1_epi32(high));
  };
  __m512 most = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  for (int b = 0; b < blocks; b++) {
    float* s = scores + long(b) * rows * BLOCK;
    for (int i = 0; i < BLOCK; i += 16) {
      __m512 v = _mm512_loadu_ps(s + i);
      if (cap > 0) _mm512_storeu_ps(s + i, v = capped(v, cap));
      most = _mm512_mask_max_ps(most, seen(b * BLOCK + i), most, v);
    }
  }
  const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  __m512 sum = _mm512_setzero_ps();
  for (int b = 0; b < blocks; b++) {
    float* s = scores + long(b) * rows * BLOCK;
    for (int i = 0; i < BLOCK; i += 16) {  // what is written lies at or before what is read
      __m512 e = _mm512_maskz_mov_ps(seen(b * BLOCK + i), exp16(_mm512_sub_ps(_mm512_loadu_ps(s + i), top)));
      sum = _mm512_add_ps(sum, e);
      T::put(s, i, e);
    }
  }
  return _mm512_reduce_add_ps(sum);
}

// A few tokens of one segment against all they see, for one key head and the query heads that share it.
template <class T>
static void attend(Model& m, const Layer& layer, int index, const Piece& piece, const int32_t* table, int kh, float* scratch) {
  constexpr int R = T::attention_rows;
  const int D = m.s.head, G = m.group(), words = int(m.head_words), H = m.s.heads;
  alignas(64) word queries[R * 512];
  alignas(64) float sums[R * BLOCK];
  for (int r0 = 0; r0 < piece.count * G; r0 += R) {
    const int rows = piece.count * G - r0 < R ? piece.count * G - r0 : R;
    const int lowest = layer.window ? piece.start + r0 / G - layer.window + 1 : 0;
    const int first = lowest > 0 ? lowest / BLOCK : 0, end = piece.start + (r0 + rows - 1) / G + 1;
    const int blocks = (end + BLOCK - 1) / BLOCK - first;
    for (int r = 0; r < rows; r++) {
      long from = long(piece.row + (r0 + r) / G) * H + kh * G + (r0 + r) % G;
      memcpy(queries + r * words, m.q.data() + from * words, size_t(words) * 4);
    }
    const int last = end - (first + blocks - 1) * BLOCK;  // tokens of the last block
    for (int b = 0; b < blocks; b++) {
      // Fetched meanwhile: the values of this block, which lie behind its keys, and the keys of the next.
      const char* K = m.keys(table[first + b], index, kh);
      for (long line = 0; line < m.value_bytes; line += 64) _mm_prefetch(K + m.key_bytes + line, _MM_HINT_T1);
      if (b + 1 < blocks) {
        const char* next = m.keys(table[first + b + 1], index, kh);
        for (long line = 0; line < m.key_bytes; line += 64) _mm_prefetch(next + line, _MM_HINT_T1);
      }
      Product<T, 4>::run(rows, queries, words, K, words, scratch + long(b) * R * BLOCK, false, nullptr,
                         b + 1 < blocks ? BLOCK : last);
    }
    float inverse[R];
    for (int r = 0; r < rows; r++) {
      const int position = piece.start + (r0 + r) / G, low = layer.window ? position - layer.window + 1 : 0;
      inverse[r] = 1.f / soften<T>(scratch + r * BLOCK, R, blocks, low - first * BLOCK, position + 1 - first * BLOCK,
                                   m.s.score_cap);
    }
    for (int d0 = 0; d0 < D; d0 += BLOCK) {
      for (int b = 0; b < blocks; b++) {
        const long tokens = b + 1 < blocks ? BLOCK : up(last, TILE_WORDS * T::per_word);
        Product<T, 4>::run(rows, (word*)scratch + long(b) * R * BLOCK, BLOCK,
                           m.values(table[first + b], index, kh) + d0 * (BLOCK / T::per_word) * 4L, tokens / T::per_word,
                           sums, b > 0, nullptr);
      }
      for (int r = 0; r < rows; r++) {
        word* to = m.mixed.data() + long(piece.row + (r0 + r) / G) * m.linears[index].out.words;
        for (int d = 0; d < BLOCK && d0 + d < D; d += 16)
          T::put(to, long(kh * G + (r0 + r) % G) * D + d0 + d,
                 _mm512_mul_ps(_mm512_load_ps(sums + r * BLOCK + d), _mm512_set1_ps(inverse[r])));
      }
    }
  }
}

// ---- one step

template <class T>
struct Run {
  Model& m;
  const Step& step;
  int rows = 0;
  std::vector<Piece> in_blocks, tasks;
  std::vector<std::atomic<int>> next;             // attention task of each layer
  std::vector<float> best;                        // [threads, wanted]
  std::vector<int> best_at;

  Run(Model& model, const Step& s) : m(model), step(s), next(size_t(model.s.layers)) {
    const int tokens = T::attention_rows / m.group() > 1 ? T::attention_rows / m.group() : 1;
    for (int segment = 0; segment < step.segments; segment++) {
      const int start = step.starts[segment], length = step.lengths[segment];
      for (int at = 0; at < length;) {
        int count = std::min(length - at, BLOCK - (start + at) % BLOCK);
        in_blocks.push_back({rows + at, count, start + at, segment});
        at += count;
      }
      for (int at = 0; at < length; at += tokens)
        tasks.push_back({rows + at, std::min(tokens, length - at), start + at, segment});
      rows += length;
    }
    for (auto& each : next) each = 0;
    best.assign(size_t(m.pool->size) * step.wanted, -std::numeric_limits<float>::infinity());
    best_at.assign(best.size(), -1);
  }

  void norm(const float* x, const float* weight, word* to) {
    __m512 scale = inverse_rms(x, m.s.hidden, m.s.eps);
    for (int i = 0; i < m.s.hidden; i += 16) T::put(to, i, normed(x, i, scale, weight));
  }
  // The residual stream grows by a product: at once, or by its norm once all columns are there.
  template <class Rows>
  void add(const Linear& linear, const word* A, const float* after, Rows&& each_row, int thread) {
    const int hidden = m.s.hidden;
    float* to = after ? m.y.data() : m.x.data();
    const long stride = after ? linear.columns : hidden;
    multiply<T>(linear, A, linear.words, rows, thread, m.pool->size, [&](int r, int column, const float* sums) {
      for (int j = 0; j < PANEL && column + j < hidden; j += 16) {
        __m512 v = _mm512_add_ps(_mm512_loadu_ps(sums + j), _mm512_loadu_ps(linear.bias + column + j));
        float* at = to + r * stride + column + j;
        _mm512_storeu_ps(at, after ? v : _mm512_add_ps(_mm512_loadu_ps(at), v));
      }
    });
    m.pool->meet();
    if (!after) return;
    each_row([&](int r) {
      float *x = m.x.data() + long(r) * hidden, *y = m.y.data() + r * stride;
      __m512 scale = inverse_rms(y, hidden, m.s.eps);
      for (int i = 0; i < hidden; i += 16)
        _mm512_storeu_ps(x + i, _mm512_add_ps(_mm512_loadu_ps(x + i), normed(y, i, scale, after)));
    });
  }
  void embed(int r) {
    const int hidden = m.s.hidden;
    const __m512 scale = _mm512_set1_ps(m.s.embedding_scale);
    const long from = long(step.ids[r]) * hidden;
    for (int i = 0; i < hidden; i += 16) {
      __m512 v = m.s.half_embedding ? from_bf16((const uint16_t*)m.embedding + from + i)
                                    : _mm512_loadu_ps((const float*)m.embedding + from + i);
      _mm512_storeu_ps(m.x.data() + long(r) * hidden + i, _mm512_mul_ps(v, scale));
    }
  }

  void thread(int t) {
    const int threads = m.pool->size, hidden = m.s.hidden, KH = m.s.key_heads;
    if (T::kind == AMX) tiles_on();
    auto each_row = [&](auto&& what) {
      for (int r = int(long(rows) * t / threads); r < int(long(rows) * (t + 1) / threads); r++) what(r);
    };
    each_row([&](int r) { embed(r); });
    for (int index = 0; index < m.s.layers; index++) {
      const Layer& layer = m.layers[index];
      Model::Linears& linears = m.linears[index];
      auto norm_rows = [&](const float* weight) {
        each_row([&](int r) { norm(m.x.data() + long(r) * hidden, weight, m.in.data() + r * linears.qkv.words); });
        m.pool->meet();
      };
      norm_rows(layer.norm_before_attention);
      multiply<T>(linears.qkv, m.in.data(), linears.qkv.words, rows, t, threads, [&](int r, int column, const float* sums) {
        float* y = m.y.data() + long(r) * linears.qkv.columns + column;
        for (int j = 0; j < PANEL; j += 16)
          _mm512_storeu_ps(y + j, _mm512_add_ps(_mm512_loadu_ps(sums + j), _mm512_loadu_ps(linears.qkv.bias + column + j)));
      });
      m.pool->meet();
      for (int task = t; task < int(in_blocks.size()) * KH; task += threads) {
        const Piece& piece = in_blocks[size_t(task / KH)];
        remember<T>(m, layer, index, piece, table(piece)[piece.start / BLOCK], task % KH);
      }
      m.pool->meet();
      for (int task; (task = next[size_t(index)].fetch_add(1)) < int(tasks.size()) * KH;) {
        const Piece& piece = tasks[size_t(task / KH)];
        attend<T>(m, layer, index, piece, table(piece), task % KH, m.scratch[size_t(t)].data());
      }
      m.pool->meet();
      add(linears.out, m.mixed.data(), layer.norm_after_attention, each_row, t);
      norm_rows(layer.norm_before_mlp);
      multiply<T>(linears.up, m.in.data(), linears.up.words, rows, t, threads, [&](int r, int column, const float* sums) {
        if (column / 2 >= m.s.inner) return;
        __m512 gate = _mm512_add_ps(_mm512_loadu_ps(sums), _mm512_loadu_ps(linears.up.bias + column));
        __m512 up = _mm512_add_ps(_mm512_loadu_ps(sums + 16), _mm512_loadu_ps(linears.up.bias + column + 16));
        gate = m.s.activation ? gelu_tanh(gate) : _mm512_mul_ps(gate, sigmoid(gate));
        T::put(m.up.data() + r * linears.down.words, column / 2, _mm512_mul_ps(gate, up));
      });
      m.pool->meet();
      add(linears.down, m.up.data(), layer.norm_after_mlp, each_row, t);
    }
    // A row may be another thread's, and be complete only after its last norm.
    m.pool->meet();
    if (step.wanted) sample(t, threads);
    if (T::kind == AMX) tiles_off();
  }
  const int32_t* table(const Piece& piece) const { return step.blocks + step.tables[piece.segment]; }

  // The head, for the rows that are sampled from.
  void sample(int t, int threads) {
    const Linear& head = m.head;
    for (int w = t; w < step.wanted; w += threads)
      norm(m.x.data() + long(step.want_rows[w]) * m.s.hidden, m.last_norm, m.in.data() + w * head.words);
    m.pool->meet();
    float* best_of = best.data() + long(t) * step.wanted;
    int* at_of = best_at.data() + long(t) * step.wanted;
    multiply<T>(head, m.in.data(), head.words, step.wanted, t, threads, [&](int w, int column, const float* sums) {
      float* logits = step.want_logits[w] < 0 ? nullptr : step.logits + long(step.want_logits[w]) * head.columns + column;
      for (int j = 0; j < PANEL; j += 16) {
        __m512 v = _mm512_add_ps(_mm512_loadu_ps(sums + j), _mm512_loadu_ps(head.bias + column + j));
        if (logits) _mm512_storeu_ps(logits + j, m.s.logit_cap > 0 ? capped(v, m.s.logit_cap) : v);
        __mmask16 better = _mm512_cmp_ps_mask(v, _mm512_set1_ps(best_of[w]), _CMP_GT_OQ);
        if (!better) continue;
        float most = _mm512_mask_reduce_max_ps(better, v);
        best_of[w] = most;
        at_of[w] = column + j + __builtin_ctz(_mm512_mask_cmp_ps_mask(better, v, _mm512_set1_ps(most), _CMP_EQ_OQ));
      }
    });
  }
  void run() {
    m.pool->run([this](int t) { thread(t); });
    for (int w = 0; w < step.wanted; w++) {
      int winner = 0;  // of equal ones the first, as argmax has it
      for (int t = 1; t < m.pool->size; t++)
        if (best[long(t) * step.wanted + w] > best[long(winner) * step.wanted + w]) winner = t;
      step.likeliest[w] = best_at[long(winner) * step.wanted + w];
    }
  }
};

// Calls `what` with the kind's words; -1 where this library has none of the kind.
template <class What>
static int with_words(int kind, What&& what) {
  switch (kind) {
    case FP32: return what(Fp32()), 0;
#ifdef __AVX512BF16__
    case BF16: return what(Bf16()), 0;
#endif
#if defined(__AVX512BF16__) && defined(__AMX_BF16__)
    case AMX: return what(Amx()), 0;
#endif
  }
  return -1;
}

// ---- the C interface; sizes are checked by the caller in library.py, indices here

extern "C" {

Pool* sw_pool_new(int threads) { return new (std::nothrow) Pool(threads); }
void sw_pool_free(Pool* pool) { delete pool; }

Linear* sw_linear_new(int n, int k, int kind) {
  Linear* linear = new (std::nothrow) Linear();
  if (linear && linear->shape(n, k, kind)) return linear;
  delete linear;
  return nullptr;
}
void sw_linear_free(Linear* linear) { delete linear; }
void sw_linear_pack(Linear* linear, const void* weight, int half, int rows, const float* bias) {
  linear->pack(weight, half, rows, 0, 1, bias);
}
// y [rows, n] = x [rows, k] * weight + bias, fp32 both; k is a multiple of 16. 0, or -1 without memory for the rows.
int sw_linear_run(const Linear* linear, Pool* pool, const float* x, long rows, int kind, float* y) try {
  std::vector<word> in(size_t(rows + 32) * linear->words);
  auto run = [&](auto words) {
    typedef decltype(words) T;
    const std::function<void(int)> job = [&](int t) {
      if (T::kind == AMX) tiles_on();
      for (long r = rows * t / pool->size; r < rows * (t + 1) / pool->size; r++)
        for (int i = 0; i < linear->k; i += 16) T::put(in.data() + r * linear->words, i, _mm512_loadu_ps(x + r * linear->k + i));
      pool->meet();
      multiply<T>(*linear, in.data(), linear->words, int(rows), t, pool->size, [&](int r, int column, const float* sums) {
        for (int j = 0; j < PANEL && column + j < linear->n; j += 16) {
          __mmask16 there = linear->n - column - j < 16 ? __mmask16((1 << (linear->n - column - j)) - 1) : __mmask16(-1);
          _mm512_mask_storeu_ps(y + long(r) * linear->n + column + j, there,
                                _mm512_add_ps(_mm512_loadu_ps(sums + j), _mm512_loadu_ps(linear->bias + column + j)));
        }
      });
      if (T::kind == AMX) tiles_off();
    };
    pool->run(job);
  };
  return with_words(kind, run);
} catch (const std::bad_alloc&) {
  return -1;
}

long sw_block_bytes(const Shape* s) { return (key_bytes(*s) + value_bytes(*s)) * s->key_heads * s->layers; }
void sw_model_free(Model* m) {
  if (m) release(m->cache, size_t(m->block_bytes) * size_t(m->s.blocks));
  delete m;
}
Model* sw_model_new(const Shape* shape, Pool* pool) try {
  Model* m = new Model();
  m->s = *shape, m->pool = pool;
  const Shape& s = m->s;
  m->head_words = head_words(s);
  m->key_bytes = key_bytes(s), m->value_bytes = value_bytes(s), m->block_bytes = sw_block_bytes(shape);
  m->cache = reserve(size_t(m->block_bytes) * size_t(s.blocks));
  bool made = m->cache && m->head.shape(s.vocabulary, s.hidden, s.kind);
  m->layers.resize(size_t(s.layers));
  m->linears = std::vector<Model::Linears>(size_t(s.layers));
  m->kept.reserve(size_t(s.layers) * 6 + 5);
  for (auto& linears : m->linears)
    made = made && linears.qkv.shape((s.heads + 2 * s.key_heads) * s.head, s.hidden, s.kind) &&
           linears.out.shape(s.hidden, s.heads * s.head, s.kind) &&
           linears.up.shape(int(up(2 * s.inner, PANEL)), s.hidden, s.kind) && linears.down.shape(s.hidden, s.inner, s.kind);
  if (!made) return sw_model_free(m), nullptr;
  // Padding of the vocabulary is never the likeliest.
  for (int c = s.vocabulary; c < m->head.columns; c++) m->head.bias[c] = -std::numeric_limits<float>::infinity();
  const Model::Linears& any = m->linears[0];
  const size_t rows = size_t(s.max_rows) + 32;  // tiles read whole ones
  m->x.resize(rows * s.hidden);
  m->y.resize(rows * std::max(any.qkv.columns, any.out.columns));
  m->in.resize(rows * any.qkv.words);
  m->q.resize(rows * s.heads * m->head_words);
  m->mixed.resize(rows * any.out.words);
  m->up.resize(rows * any.down.words);
  m->scratch.assign(size_t(pool->size), std::vector<float>(size_t(s.max_tokens / BLOCK + 2) * 16 * BLOCK));
  return m;
} catch (const std::bad_alloc&) {
  return nullptr;
}
void sw_model_layer(Model* m, int index, const Layer* layer) {
  const int hidden = m->s.hidden, head = m->s.head;
  m->layers[size_t(index)] = {m->keep(layer->norm_before_attention, hidden), m->keep(layer->norm_after_attention, hidden),
                              m->keep(layer->norm_before_mlp, hidden),       m->keep(layer->norm_after_mlp, hidden),
                              m->keep(layer->query_norm, head),              m->keep(layer->key_norm, head),
                              layer->window,                                 layer->rotary};
}
// `which`: 0 query, 1 key, 2 value, 3 out, 4 gate, 5 up, 6 down; in the layout of torch, [rows, columns].
void sw_model_pack(Model* m, int index, int which, const void* weight, int half, const float* bias) {
  const Shape& s = m->s;
  Model::Linears& l = m->linears[size_t(index)];
  const int q = s.heads * s.head, kv = s.key_heads * s.head;
  switch (which) {
    case 0: return l.qkv.pack(weight, half, q, 0, 1, bias);
    case 1: return l.qkv.pack(weight, half, kv, q, 1, bias);
    case 2: return l.qkv.pack(weight, half, kv, q + kv, 1, bias);
    case 3: return l.out.pack(weight, half, s.hidden, 0, 1, bias);
    case 4: return l.up.pack(weight, half, s.inner, 0, 2, bias);
    case 5: return l.up.pack(weight, half, s.inner, 16, 2, bias);
    case 6: return l.down.pack(weight, half, s.hidden, 0, 1, bias);
  }
}
void sw_model_top(Model* m, const void* embedding, const float* norm, const void* head, int half_head) {
  m->embedding = embedding;
  m->last_norm = m->keep(norm, m->s.hidden);
  m->head.pack(head, half_head, m->s.vocabulary, 0, 1, nullptr);
}
void sw_model_rotary(Model* m, int table, const float* cosines, const float* sines) {
  const long n = long(m->s.max_tokens) * (m->s.head / 2);
  m->cosines[table] = m->keep(cosines, n), m->sines[table] = m->keep(sines, n);
}
int sw_model_logit_columns(const Model* m) { return m->head.columns; }

// The first `tokens` of a block; what follows in V is cleared, for it may be another request's.
void sw_model_copy_block(Model* m, int from, int to, int tokens) {
  memcpy(m->keys(to, 0, 0), m->keys(from, 0, 0), size_t(m->block_bytes));
  const long word_row = BLOCK * 4, slice = BLOCK / per_word(m->s) * word_row;
  const long kept = (tokens + per_word(m->s) - 1) / per_word(m->s) * word_row;
  for (int layer = 0; layer < m->s.layers; layer++)
    for (int head = 0; head < m->s.key_heads; head++)
      for (long at = 0; at < m->value_bytes; at += slice)
        memset(m->values(to, layer, head) + at + kept, 0, size_t(slice - kept));
}

// 0, or which index is wrong: 1 rows, 2 a position, 3 a block, 4 an id, 5 a wanted row.
int sw_model_step(Model* m, const Step* step) {
  int rows = 0;
  for (int segment = 0; segment < step->segments; segment++) {
    const int start = step->starts[segment], length = step->lengths[segment];
    if (start < 0 || length < 1 || start + length > m->s.max_tokens) return 2;
    for (int b = 0; b <= (start + length - 1) / BLOCK; b++) {
      const int block = step->blocks[step->tables[segment] + b];
      if (block < 0 || block >= m->s.blocks) return 3;
    }
    rows += length;
  }
  if (rows < 1 || rows > m->s.max_rows || step->wanted > rows) return 1;
  for (int r = 0; r < rows; r++)
    if (step->ids[r] < 0 || step->ids[r] >= m->s.vocabulary) return 4;
  for (int w = 0; w < step->wanted; w++)
    if (step->want_rows[w] < 0 || step->want_rows[w] >= rows) return 5;
  return with_words(m->s.kind, [&](auto words) { Run<decltype(words)>(*m, *step).run(); });
}

}  // extern "C"
