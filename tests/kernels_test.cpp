// Every CPU kernel against its reference, at awkward sizes; sampling against its distribution.
#include "core/kernels/kernels.h"

#include <doctest/doctest.h>

#include <map>

#include "core/base/pool.h"
#include "core/kernels/cpu/build.h"
#include "core/kernels/sample.h"
#include "core/weights/weights.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

constexpr int64_t kSizes[] = {1, 31, 33, 257};

TEST_CASE("gemm equals its reference, and a row does not depend on the other rows") {
  for (const int64_t inner : kSizes)
    for (const int64_t columns : kSizes) {
      CAPTURE(inner);
      CAPTURE(columns);
      const Floats w = normal(columns * inner, 1);
      PackedMatrix transposed, plain;
      pack_transposed(w.data(), columns, inner, transposed);
      pack_plain(w.data(), columns, inner, plain);
      const Floats x = normal(257 * std::max(inner, columns), 2);
      for (const int64_t rows : kSizes) {
        CAPTURE(rows);
        Floats y(rows * columns), want(rows * columns), first(columns);
        gemm(x.data(), transposed, y.data(), rows);
        ref::matmul(x.data(), false, w.data(), true, want.data(), rows, inner, columns, false);
        CHECK(worst(y, want) < 1e-5);
        gemm(x.data() + (rows - 1) * inner, transposed, first.data(), 1);
        CHECK(std::equal(first.begin(), first.end(), y.end() - columns));
        Floats back(rows * inner), back_want(rows * inner);
        gemm(x.data(), plain, back.data(), rows);
        ref::matmul(x.data(), false, w.data(), false, back_want.data(), rows, columns, inner,
                    false);
        CHECK(worst(back, back_want) < 1e-5);
      }
    }
}

TEST_CASE("a product with bf16 weights is that of fp32 weights rounded before, bit for bit") {
  for (const int64_t inner : kSizes)
    for (const int64_t columns : kSizes) {
      CAPTURE(inner);
      CAPTURE(columns);
      Floats w = normal(columns * inner, 6);
      const Floats x = normal(257 * inner, 7);
      PackedMatrix halves, floats;
      pack_transposed(w.data(), columns, inner, halves, WeightFormat::bf16);
      for (float& value : w) value = from_bf16(to_bf16(value));
      pack_transposed(w.data(), columns, inner, floats);
      for (const int64_t rows : kSizes) {
        Floats found(rows * columns), want(rows * columns);
        gemm(x.data(), halves, found.data(), rows);
        gemm(x.data(), floats, want.data(), rows);
        CHECK(found == want);
      }
    }
}

TEST_CASE("a product of pairs is that of numbers rounded to bf16 on both sides") {
  for (const int64_t inner : kSizes)
    for (const int64_t columns : kSizes) {
      CAPTURE(inner);
      CAPTURE(columns);
      Floats w = normal(columns * inner, 6), x = normal(257 * inner, 7);
      PackedMatrix pairs;
      pack_transposed(w.data(), columns, inner, pairs, WeightFormat::bf16_pairs);
      const Floats exact = x;
      for (Floats* values : {&w, &x})
        for (float& value : *values) value = from_bf16(to_bf16(value));
      for (const int64_t rows : kSizes) {
        Floats found(rows * columns), want(rows * columns), last(columns);
        gemm(exact.data(), pairs, found.data(), rows);
        ref::matmul(x.data(), false, w.data(), true, want.data(), rows, inner, columns, false);
        CHECK(worst(found, want) < 1e-5);
        gemm(exact.data() + (rows - 1) * inner, pairs, last.data(), 1);
        CHECK(std::equal(last.begin(), last.end(), found.end() - columns));
        set_kernel_threads(2);
        Floats threaded(rows * columns);
        gemm(exact.data(), pairs, threaded.data(), rows);
        set_kernel_threads(1);
        CHECK(threaded == found);
      }
    }
}

TEST_CASE("rows of a product of pairs are rounded as to_bf16 rounds") {
  Floats x = normal(31, 12);
  for (const uint32_t bits : {0x3F808000U, 0x3F818000U, 0x3F808001U, 0x3F807FFFU, 0x7F7FFFFFU,
                              0xFF800000U, 0x7F800001U, 0x7FFFFFFFU, 0x80000000U})
    x.push_back(std::bit_cast<float>(bits));  // ties, the largest, infinity, NaN, -0
  const float one = 1.0f;
  PackedMatrix pairs;
  pack_transposed(&one, 1, 1, pairs, WeightFormat::bf16_pairs);
  for (const float value : x) {
    float found = 0;
    gemm(&value, pairs, &found, 1);
    const float want = from_bf16(to_bf16(value));
    CHECK((found == want || (std::isnan(found) && std::isnan(want))));
  }
}

TEST_CASE("int8 weights: a scale an output, the rest rounded to 127 steps") {
  for (const int64_t inner : kSizes)
    for (const int64_t columns : kSizes) {
      CAPTURE(inner);
      CAPTURE(columns);
      Floats w = normal(columns * inner, 8);
      std::fill_n(w.begin(), inner, 0.0f);  // an output that is always 0
      const Floats x = normal(257 * inner, 9);
      PackedMatrix packed;
      pack_transposed(w.data(), columns, inner, packed, WeightFormat::int8);
      for (int64_t j = 0; j < columns; ++j) {
        float largest = 0;
        for (int64_t k = 0; k < inner; ++k) largest = std::max(largest, std::abs(w[j * inner + k]));
        const double step = largest > 0 ? largest / 127.0 : 1.0;
        for (int64_t k = 0; k < inner; ++k) {
          const double rounded = std::nearbyint(w[j * inner + k] / step) * step;
          CHECK(std::abs(rounded - w[j * inner + k]) <= step / 2 * 1.0001);
          w[j * inner + k] = static_cast<float>(rounded);
        }
      }
      for (const int64_t rows : kSizes) {
        Floats found(rows * columns), want(rows * columns), last(columns);
        gemm(x.data(), packed, found.data(), rows);
        ref::matmul(x.data(), false, w.data(), true, want.data(), rows, inner, columns, false);
        CHECK(worst(found, want) < 1e-5);
        gemm(x.data() + (rows - 1) * inner, packed, last.data(), 1);
        CHECK(std::equal(last.begin(), last.end(), found.end() - columns));
      }
    }
}

TEST_CASE("NaN in a weight is NaN in its output, in every format") {
  for (const WeightFormat format :
       {WeightFormat::fp32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::bf16_pairs}) {
    Floats w = normal(33 * 31, 10);
    w[31 * 5 + 7] = std::numeric_limits<float>::quiet_NaN();
    const Floats x = normal(31, 11);
    PackedMatrix packed;
    pack_transposed(w.data(), 33, 31, packed, format);
    Floats y(33);
    gemm(x.data(), packed, y.data(), 1);
    for (int64_t j = 0; j < 33; ++j) CHECK(std::isnan(y[j]) == (j == 5));
  }
}

TEST_CASE("gemm_tn adds the gradient of a weight, the same with one thread and with two") {
  for (const int64_t rows : {1, 31, 257, 700})
    for (const int64_t a : kSizes)
      for (const int64_t b : kSizes) {
        const Floats x = normal(rows * a, 3), y = normal(rows * b, 4);
        Floats got = normal(a * b, 5), want = got, threaded = got;
        gemm_tn(x.data(), y.data(), got.data(), rows, a, b);
        ref::matmul(x.data(), true, y.data(), false, want.data(), a, rows, b, true);
        CHECK(worst(got, want) < 1e-5);
        set_kernel_threads(2);
        gemm_tn(x.data(), y.data(), threaded.data(), rows, a, b);
        set_kernel_threads(1);
        CHECK(threaded == got);
      }
}

TEST_CASE("rms_norm and swiglu equal their references, forward and backward") {
  for (const int64_t rows : kSizes)
    for (const int64_t width : kSizes) {
      CAPTURE(rows);
      CAPTURE(width);
      const Floats x = normal(rows * width, 6), w = normal(width, 7), dy = normal(rows * width, 8);
      Floats y(x.size()), y_want(x.size()), inverse(rows), inverse_want(rows);
      rms_norm(x.data(), w.data(), y.data(), inverse.data(), rows, width, 1e-5f);
      ref::rms_norm(x.data(), w.data(), y_want.data(), inverse_want.data(), rows, width, 1e-5);
      CHECK(worst(y, y_want) < 1e-5);
      Floats dx(x.size()), dx_want(x.size()), dw = w, dw_want = w;
      rms_norm_backward(dy.data(), x.data(), w.data(), inverse.data(), dx.data(), dw.data(), rows,
                        width);
      ref::rms_norm_backward(dy.data(), x.data(), w.data(), inverse_want.data(), dx_want.data(),
                             dw_want.data(), rows, width);
      CHECK(worst(dx, dx_want, 1) < 1e-5);
      CHECK(worst(dw, dw_want) < 1e-5);
      const Floats gate_up = normal(rows * 2 * width, 9, 0, 4);
      Floats d_gate_up(gate_up.size()), d_want(gate_up.size());
      swiglu(gate_up.data(), y.data(), rows, width);
      ref::swiglu(gate_up.data(), y_want.data(), rows, width);
      CHECK(worst(y, y_want) < 1e-5);
      table().swiglu_backward(dy.data(), gate_up.data(), d_gate_up.data(), rows, width);
      ref::swiglu_backward(dy.data(), gate_up.data(), d_want.data(), rows, width);
      CHECK(worst(d_gate_up, d_want) < 1e-5);
    }
}

TEST_CASE("norms of queries and keys equal their references") {
  for (const int64_t rows : kSizes)
    for (const AttentionShape& shape :
         {AttentionShape{1, 1, 2}, AttentionShape{7, 1, 48}, AttentionShape{3, 3, 31}})
      for (const QkNorm kind : {QkNorm::head, QkNorm::all}) {
        CAPTURE(rows);
        const int64_t q_width = shape.head_size * (kind == QkNorm::all ? shape.heads : 1);
        const int64_t k_width = shape.head_size * (kind == QkNorm::all ? shape.kv_heads : 1);
        const Floats x = normal(rows * shape.row(), 20), d = normal(rows * shape.row(), 21);
        const Floats q = normal(q_width, 22), k = normal(k_width, 23);
        Floats y(x.size()), want(x.size()), dx(x.size()), dx_want(x.size());
        Floats means(rows * qk_norms(shape, kind)), means_want(means.size());
        qk_norm(x.data(), q.data(), k.data(), y.data(), means.data(), shape, kind, rows, 1e-5f);
        ref::qk_norm(x.data(), q.data(), k.data(), want.data(), means_want.data(), shape, kind,
                     rows, 1e-5);
        CHECK(worst(y, want) < 1e-5);
        CHECK(worst(means, means_want) < 1e-5);
        Floats dq = q, dq_want = q, dk = k, dk_want = k;
        qk_norm_backward_rows(d.data(), x.data(), q.data(), k.data(), means.data(), dx.data(),
                              dq.data(), dk.data(), shape, kind, rows);
        ref::qk_norm_backward(d.data(), x.data(), q.data(), k.data(), means_want.data(),
                              dx_want.data(), dq_want.data(), dk_want.data(), shape, kind, rows);
        CHECK(worst(dx, dx_want, 1) < 1e-5);
        CHECK(worst(dq, dq_want, 1) < 2e-5);
        CHECK(worst(dk, dk_want, 1) < 2e-5);
      }
}

TEST_CASE("rotation and back is the identity, and what does not rotate stays") {
  const AttentionShape shape{2, 1, 6, 6};
  const Floats before = normal(5 * shape.row(), 13);
  Floats cosine, sine;
  for (int i = 0; i < 30; ++i) {
    cosine.push_back(std::cos(0.3f * static_cast<float>(i)));
    sine.push_back(std::sin(0.3f * static_cast<float>(i)));
  }
  const std::vector<int32_t> positions = {0, 3, 9, 1, 2};
  Floats x = before;
  rope(x.data(), positions.data(), cosine.data(), sine.data(), shape, 5, false);
  CHECK(worst(x, before) > 0.01);
  rope(x.data(), positions.data(), cosine.data(), sine.data(), shape, 5, true);
  CHECK(worst(x, before) < 1e-6);
  const AttentionShape part{2, 1, 6, 4}, none{2, 1, 6, 0};
  rope(x.data(), positions.data(), cosine.data(), sine.data(), none, 5, false);
  CHECK(worst(x, before) < 1e-6);
  rope(x.data(), positions.data(), cosine.data(), sine.data(), part, 5, false);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t in_row = i % static_cast<size_t>(part.row());
    if (in_row >= 18 || in_row % 6 >= 4) CHECK(std::abs(x[i] - before[i]) < 1e-6);
  }
  CHECK(x[0] == doctest::Approx(before[0] * double{cosine[0]} - before[2] * double{sine[0]}));
}

TEST_CASE("log_softmax equals its reference, forward and backward") {
  for (const int64_t rows : {1, 33})
    for (const int64_t vocabulary : kSizes)
      for (const double temperature : {0.5, 1.0, 1.7}) {
        CAPTURE(vocabulary);
        const Floats logits = normal(rows * vocabulary, 14, 2, 5);
        const auto scale = static_cast<float>(1 / temperature);
        std::vector<int32_t> targets;
        for (int64_t t = 0; t < rows; ++t)
          targets.push_back(static_cast<int32_t>(t * 7 % vocabulary));
        Floats a(rows), b(rows), c(rows), a_want(rows), b_want(rows), c_want(rows);
        Floats s(rows), s_want(rows);
        log_softmax(logits.data(), targets.data(), scale, a.data(), b.data(), c.data(), rows,
                    vocabulary, s.data());
        ref::log_softmax(logits.data(), targets.data(), scale, a_want.data(), b_want.data(),
                         c_want.data(), rows, vocabulary, s_want.data());
        CHECK(worst(s, s_want, 1) < 1e-5);
        CHECK(worst(a, a_want, 1) < 1e-5);
        CHECK(worst(b, b_want, 1) < 1e-5);
        CHECK(worst(c, c_want, 1) < 1e-4);
        const Floats d_logprob = normal(rows, 15), d_entropy = normal(rows, 16);
        Floats d = logits, d_want = logits;
        for (int64_t t = 0; t < rows; ++t)
          table().log_softmax_backward(d.data() + t * vocabulary, targets[t], scale, a[t], c[t],
                                       d_logprob[t], d_entropy[t], vocabulary);
        ref::log_softmax_backward(d_want.data(), targets.data(), scale, a_want.data(),
                                  c_want.data(), d_logprob.data(), d_entropy.data(), rows,
                                  vocabulary);
        CHECK(worst(d, d_want, 1) < 2e-5);
      }
}

TEST_CASE("a NaN among the logits shows") {
  Floats logits = normal(100, 17);
  logits[63] = std::numeric_limits<float>::quiet_NaN();
  const int32_t target = 5;
  float log_sum = 0, logprob = 0, entropy = 0;
  log_softmax(logits.data(), &target, 1, &log_sum, &logprob, &entropy, 1, 100);
  CHECK(std::isnan(logprob));
  CHECK(std::isnan(entropy));
}

TEST_CASE("one value that is not finite is found anywhere") {
  for (const int64_t count : kSizes) {
    Floats values = normal(count, 19, 0, 1e30);
    values[0] = std::numeric_limits<float>::max();
    CHECK(all_finite(values.data(), count));
    for (const float bad : {INFINITY, -INFINITY, std::nanf(""), -std::nanf("")})
      for (const int64_t at : {int64_t{0}, count / 2, count - 1}) {
        Floats changed = values;
        changed[static_cast<size_t>(at)] = bad;
        CHECK(!all_finite(changed.data(), count));
      }
  }
  CHECK(all_finite(nullptr, 0));
}

TEST_CASE("adamw equals its reference") {
  for (const int64_t count : {int64_t{1}, int64_t{31}, int64_t{257}, int64_t{70000}}) {
    Floats w = normal(count, 18), m(count), v(count);
    std::vector<double> w_ref(w.begin(), w.end()), m_ref(count), v_ref(count);
    for (int64_t step = 1; step <= 5; ++step) {
      const Floats g = normal(count, 18 + static_cast<uint64_t>(step));
      const std::vector<double> g_ref(g.begin(), g.end());
      const AdamStep how{.learning_rate = 1e-2,
                         .beta1 = 0.9,
                         .beta2 = 0.98,
                         .eps = 1e-8,
                         .weight_decay = 0.1,
                         .grad_scale = 0.5,
                         .step = step};
      adamw(w.data(), g.data(), m.data(), v.data(), count, how);
      ref::adamw(w_ref.data(), g_ref.data(), m_ref.data(), v_ref.data(), count, how);
    }
    CHECK(worst(w, w_ref) < 1e-5);
    double squares = 0;
    for (const float value : w) squares += double{value} * double{value};
    CHECK(sum_of_squares(w.data(), count) == doctest::Approx(squares).epsilon(1e-12));
  }
}

// p of Pearson's statistic with `freedom` degrees, by Wilson and Hilferty's normal approximation.
double chi_square_p(double statistic, double freedom) {
  const double spread = 2.0 / (9.0 * freedom);
  const double z = (std::cbrt(statistic / freedom) - (1 - spread)) / std::sqrt(spread);
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

TEST_CASE("sampled frequencies match the filtered distribution") {
  constexpr int64_t kVocabulary = 40, kRows = 8, kDraws = 125000;  // a million draws a filter
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0.6}, SamplingParams{.temperature = 1.8},
        SamplingParams{.top_k = 7}, SamplingParams{.top_p = 0.8}, SamplingParams{.min_p = 0.05},
        SamplingParams{.temperature = 0.8, .top_k = 20, .top_p = 0.9, .min_p = 0.02}}) {
    CAPTURE(params.temperature);
    CAPTURE(params.top_k);
    CAPTURE(params.top_p);
    CAPTURE(params.min_p);
    std::vector<int32_t> scratch;
    double statistic = 0, freedom = 0;
    for (uint64_t row = 0; row < kRows; ++row) {
      const Floats logits = normal(kVocabulary, 100 + row, 0, 2);
      const int32_t banned = row % 2 == 0 ? -1 : 3;
      const std::vector<double> p =
          ref::filtered_probabilities(logits.data(), kVocabulary, params, banned);
      const Rng rng(7, Stream::sampling, row);
      std::vector<int64_t> count(kVocabulary);
      for (uint64_t i = 0; i < kDraws; ++i)
        ++count[static_cast<size_t>(
            sample_token(logits.data(), kVocabulary, params, banned, rng.uniform(i), scratch).id)];
      double kept = 0;
      for (size_t id = 0; id < p.size(); ++id) {
        const double expected = p[id] * kDraws;
        if (p[id] == 0) {
          CHECK(count[id] == 0);
          continue;
        }
        statistic += (static_cast<double>(count[id]) - expected) *
                     (static_cast<double>(count[id]) - expected) / expected;
        ++kept;
      }
      freedom += kept - 1;
    }
    CHECK(chi_square_p(statistic, freedom) > 1e-3);
  }
}

TEST_CASE("temperature 0 takes the most probable token, never the banned one") {
  const Floats logits = {0, 3, 5, 3};
  std::vector<int32_t> scratch;
  const SamplingParams greedy{.temperature = 0};
  CHECK(sample_token(logits.data(), 4, greedy, -1, 0.99, scratch).id == 2);
  CHECK(sample_token(logits.data(), 4, greedy, 2, 0.99, scratch).id == 1);
  const Drawn drawn = sample_token(logits.data(), 4, greedy, -1, 0.5, scratch);
  CHECK(drawn.logprob == doctest::Approx(5 - std::log(1 + 2 * std::exp(3.0) + std::exp(5.0))));
}

// Every id once: what a distribution can draw, with its log-probabilities.
std::map<int32_t, Drawn> all_drawn(const Floats& logits, const SamplingParams& params,
                                   int32_t banned, const std::vector<int32_t>& seen) {
  std::map<int32_t, Drawn> out;
  std::vector<int32_t> scratch;
  for (int i = 0; i < 20000; ++i) {
    const Drawn drawn = sample_token(logits.data(), std::ssize(logits), params, banned,
                                     (i + 0.5) / 20000, scratch, seen);
    out.emplace(drawn.id, drawn);
  }
  return out;
}

TEST_CASE("penalty and bias change the logits that are drawn from, and no recorded probability") {
  Floats logits = {2, -1, 0.5f, 0, 3};
  const SamplingParams params{.repetition_penalty = 1.5, .logit_bias = {{0, 1.0}, {3, -2.0}}};
  const std::vector<int32_t> seen = {0, 1, 3};
  Floats adjusted = logits;
  adjust_logits(adjusted.data(), params, seen);
  CHECK(adjusted == Floats{2 / 1.5f + 1, -1.5f, 0.5f, -2, 3});
  // As RepetitionPenaltyLogitsProcessor, for penalties below 1 too.
  Floats rewarded = logits;
  adjust_logits(rewarded.data(), {.repetition_penalty = 0.5}, seen);
  CHECK(rewarded == Floats{4, -0.5f, 0.5f, 0, 3});
  for (const SamplingParams& filters : {SamplingParams{}, SamplingParams{.temperature = 0.7},
                                        SamplingParams{.temperature = 1.3, .top_k = 3},
                                        SamplingParams{.top_p = 0.9, .min_p = 0.05}}) {
    SamplingParams both = filters;
    both.repetition_penalty = params.repetition_penalty;
    both.logit_bias = params.logit_bias;
    for (const int32_t banned : {-1, 4}) {
      const std::vector<double> p =
          ref::filtered_probabilities(adjusted.data(), 5, filters, banned);
      const auto drawn = all_drawn(logits, both, banned, seen);
      double sum = 0;
      for (const auto& [id, one] : drawn) {
        sum += std::exp(double{one.sampled});
        CHECK(std::exp(double{one.sampled}) == doctest::Approx(p[static_cast<size_t>(id)]));
        CHECK(one.logprob == token_logprob(logits.data(), 5, id, filters.temperature));
      }
      CHECK(sum == doctest::Approx(1));
    }
  }
  std::vector<int32_t> scratch;
  SamplingParams greedy{.temperature = 0, .logit_bias = {{1, 9.0}}};
  const Drawn biased = sample_token(logits.data(), 5, greedy, -1, 0.5, scratch);
  CHECK(biased.id == 1);
  CHECK(biased.sampled == 0);
  CHECK(biased.logprob == token_logprob(logits.data(), 5, 1, 1.0));
  greedy = {.temperature = 0, .repetition_penalty = 10};
  CHECK(sample_token(logits.data(), 5, greedy, -1, 0.5, scratch, std::vector{4}).id == 0);
}

TEST_CASE("penalty and bias change nothing where they are off") {
  const Floats logits = normal(257, 31, 0, 3);
  const std::vector<int32_t> seen = {0, 5, 200};
  std::vector<int32_t> scratch;
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0}, SamplingParams{.top_k = 9},
        SamplingParams{.temperature = 0.6, .top_p = 0.9, .min_p = 0.01}})
    for (uint64_t i = 0; i < 200; ++i) {
      const double uniform = static_cast<double>(i) / 200;
      SamplingParams off = params;
      off.logit_bias = {{3, 0.0}};  // another path to the same numbers
      const Drawn plain = sample_token(logits.data(), 257, params, 7, uniform, scratch);
      for (const Drawn& other :
           {sample_token(logits.data(), 257, params, 7, uniform, scratch, seen),
            sample_token(logits.data(), 257, off, 7, uniform, scratch, seen)}) {
        CHECK(other.id == plain.id);
        CHECK(other.logprob == plain.logprob);
        CHECK(other.sampled == plain.sampled);
      }
    }
}

TEST_CASE(
    "the sampled log-probability sums to one over what is kept, and is the tempered one "
    "without filters") {
  for (uint64_t row = 0; row < 4; ++row) {
    const Floats logits = normal(40, 40 + row, 0, 2);
    for (const SamplingParams& params :
         {SamplingParams{}, SamplingParams{.temperature = 0.6}, SamplingParams{.top_k = 7},
          SamplingParams{.top_p = 0.8}, SamplingParams{.temperature = 0.8, .min_p = 0.05}})
      for (const int32_t banned : {-1, 3}) {
        const std::vector<double> p =
            ref::filtered_probabilities(logits.data(), 40, params, banned);
        const bool filters = params.top_k > 0 || params.top_p < 1 || params.min_p > 0;
        double sum = 0, reached = 0;
        for (const auto& [id, one] : all_drawn(logits, params, banned, {})) {
          sum += std::exp(double{one.sampled});
          reached += p[static_cast<size_t>(id)];
          CHECK(std::exp(double{one.sampled}) == doctest::Approx(p[static_cast<size_t>(id)]));
          if (!filters && banned < 0) CHECK(one.sampled == one.logprob);
          if (filters || banned >= 0) CHECK(one.sampled > one.logprob);
        }
        CHECK(reached > 0.999);
        CHECK(sum == doctest::Approx(reached));
      }
  }
}

TEST_CASE("logits that are no distribution draw a NaN log-probability") {
  const float nan = std::nanf(""), inf = INFINITY;
  for (const std::vector<float>& logits : std::vector<std::vector<float>>{{nan, 1, 2, 3},
                                                                          {1, 2, nan, 0},
                                                                          {nan, nan, nan, nan},
                                                                          {1, inf, 2, 3},
                                                                          {-inf, -inf, -inf, -inf}})
    for (const SamplingParams& params :
         {SamplingParams{}, SamplingParams{.top_k = 2}, SamplingParams{.top_p = 0.5},
          SamplingParams{.min_p = 0.1}}) {
      std::vector<int32_t> scratch;
      const Drawn drawn = sample_token(logits.data(), 4, params, -1, 0.5, scratch);
      CHECK(std::isnan(drawn.logprob));
      CHECK((drawn.id >= 0 && drawn.id < 4));
    }
}

}  // namespace
}  // namespace vernier::kernels
