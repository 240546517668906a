// Drawing, on the CPU and on a GPU, by one test body; and the step between two draws.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/kernels/kernels.h"
#include "core/kernels/sample.h"
#include "tests/device_arrays.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using kernels::device::SlotSampling;
using kernels::device::SlotStatus;
using testing::as_type;
using testing::exact_in;
using testing::have_gpu;
using testing::normal;
using testing::OnDevice;

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

// Rows of logits, and how each is drawn from.
struct Draws {
  Floats logits;  // [rows, vocabulary]
  int64_t vocabulary = 0;
  SamplingParams params;
  Ints banned, counters;
  std::vector<Rng> rng;

  int64_t rows() const { return std::ssize(banned); }
  const float* row(int64_t i) const { return logits.data() + i * vocabulary; }
  double uniform(int64_t i) const {
    const auto at = static_cast<size_t>(i);
    return rng[at].uniform(static_cast<uint64_t>(counters[at]));
  }
};

struct Result {
  Ints ids;
  Floats logprob, plain;
};

struct OnCpu {
  using Number = float;

  static Result draw(const Draws& draws) {
    Result result;
    std::vector<int32_t> scratch;
    for (int64_t i = 0; i < draws.rows(); ++i) {
      const Drawn drawn =
          kernels::sample_token(draws.row(i), draws.vocabulary, draws.params,
                                draws.banned[static_cast<size_t>(i)], draws.uniform(i), scratch);
      float log_sum = 0, plain = 0;
      kernels::log_softmax(draws.row(i), &drawn.id, 1, &log_sum, &plain, nullptr, 1,
                           draws.vocabulary);
      result.ids.push_back(drawn.id);
      result.logprob.push_back(drawn.logprob);
      result.plain.push_back(plain);
    }
    return result;
  }
};

template <class T>
struct OnGpu {
  using Number = T;

  static Result draw(const Draws& draws) {
    const int64_t rows = draws.rows();
    std::vector<SlotSampling> slots;
    for (size_t i = 0; i < draws.banned.size(); ++i)
      slots.push_back({.temperature = draws.params.temperature,
                       .top_p = draws.params.top_p,
                       .min_p = draws.params.min_p,
                       .top_k = static_cast<int32_t>(draws.params.top_k),
                       .banned = draws.banned[i],
                       .key = draws.rng[i].key()});
    OnDevice<T> logits(as_type<T>(draws.logits));
    OnDevice<SlotSampling> gslots(slots);
    OnDevice<int32_t> counters(draws.counters), positions(rows), ids(rows);
    OnDevice<float> logprob(rows), plain(rows);
    kernels::device::sample(logits.data(), gslots.data(), counters.data(), positions.data(),
                            ids.data(), logprob.data(), plain.data(), rows, draws.vocabulary,
                            nullptr);
    return {ids.host(), logprob.host(), plain.host()};
  }
};

Draws make_draws(Floats logits, int64_t vocabulary, const SamplingParams& params) {
  Draws draws{.logits = std::move(logits),
              .vocabulary = vocabulary,
              .params = params,
              .banned = {},
              .counters = {},
              .rng = {}};
  const int64_t rows = std::ssize(draws.logits) / vocabulary;
  for (int64_t i = 0; i < rows; ++i) {
    draws.banned.push_back(vocabulary > 1 && i % 2 == 1 ? 3 : -1);
    draws.counters.push_back(static_cast<int32_t>(i * i));
    draws.rng.emplace_back(7, Stream::sampling, 5, static_cast<uint64_t>(i), 1);
  }
  return draws;
}

// Whether `id` is what `uniform` points at among probabilities p: the smallest id whose cumulative
// probability exceeds it, or a neighbour where the boundary is within rounding.
bool is_the_draw(const std::vector<double>& p, int32_t id, double uniform) {
  constexpr double kRounding = 1e-6;
  double before = 0;
  for (int32_t i = 0; i < id; ++i) before += p[static_cast<size_t>(i)];
  const double own = p[static_cast<size_t>(id)];
  return own > 0 && before - kRounding <= uniform && uniform < before + own + kRounding;
}

template <class Kernels>
void check_draws(const Draws& draws) {
  const Result result = Kernels::draw(draws);
  const bool greedy = draws.params.temperature == 0;
  const double temperature = greedy ? 1 : draws.params.temperature;
  int64_t wrong = 0;
  double gap = 0;
  for (int64_t i = 0; i < draws.rows(); ++i) {
    const auto at = static_cast<size_t>(i);
    const int32_t id = result.ids[at];
    REQUIRE((id >= 0 && id < draws.vocabulary));
    const auto p = kernels::ref::filtered_probabilities(draws.row(i), draws.vocabulary,
                                                        draws.params, draws.banned[at]);
    wrong += greedy ? p[static_cast<size_t>(id)] != 1 : !is_the_draw(p, id, draws.uniform(i));
    const auto logprob = [&](double scale) {
      float log_sum = 0, value = 0;
      kernels::ref::log_softmax<float>(draws.row(i), &id, scale, &log_sum, &value, nullptr, 1,
                                       draws.vocabulary);
      return value;
    };
    const Floats found = {result.logprob[at], result.plain[at]};
    gap = std::max(gap, testing::worst(found, Floats{logprob(1 / temperature), logprob(1)}, 1));
    if (std::isnan(found[0] + found[1])) gap = INFINITY;
  }
  CHECK(wrong == 0);
  CHECK(gap < 1e-5);
}

const std::vector<SamplingParams> kParams = {
    {},
    {.temperature = 0},
    {.temperature = 0.6},
    {.temperature = 1.5, .top_p = 0.99},
    {.top_k = 1},
    {.top_k = 5},
    {.top_k = 1000000},
    {.top_p = 0.8},
    {.top_p = 1e-9},
    {.min_p = 0.1},
    {.temperature = 0.8, .top_k = 20, .top_p = 0.9, .min_p = 0.01},
};

template <class Kernels>
void check_all_draws() {
  using T = Kernels::Number;
  for (const SamplingParams& params : kParams)
    for (const int64_t vocabulary : {1, 4, 31, 33, 257, 5000}) {
      CAPTURE(params.temperature);
      CAPTURE(params.top_k);
      CAPTURE(params.top_p);
      CAPTURE(params.min_p);
      CAPTURE(vocabulary);
      constexpr int64_t kRows = 16;
      check_draws<Kernels>(
          make_draws(exact_in<T>(normal(kRows * vocabulary, 100, 3, 2)), vocabulary, params));
      Floats even = normal(kRows * vocabulary, 200);  // many ties
      for (float& value : even) value = std::round(value);
      check_draws<Kernels>(make_draws(even, vocabulary, params));
    }
}

// A banned token far above the others, logits far apart, and infinities below.
template <class Kernels>
void check_extremes() {
  const float inf = INFINITY;
  for (const SamplingParams& params : kParams) {
    Draws draws = make_draws({0, 1, 2, 90,       //
                              0, 1, 2, 90,       //
                              -inf, 5, -inf, 4,  //
                              -80, -80, 80, 80},
                             4, params);
    check_draws<Kernels>(draws);
  }
}

template <class Kernels>
void check_not_finite() {
  const float nan = std::nanf(""), inf = INFINITY;
  for (const SamplingParams& params : kParams) {
    const Draws draws = make_draws({nan,  1,    2,    3,    //
                                    1,    2,    nan,  0,    //
                                    nan,  nan,  nan,  nan,  //
                                    1,    inf,  2,    3,    //
                                    -inf, -inf, -inf, -inf},
                                   4, params);
    const Result result = Kernels::draw(draws);
    for (size_t i = 0; i < draws.banned.size(); ++i) {
      CHECK((result.ids[i] >= 0 && result.ids[i] < 4));
      CHECK(!std::isfinite(result.logprob[i]));
    }
  }
}

TEST_CASE("tokens are drawn as the references say, on the CPU") {
  check_all_draws<OnCpu>();
  check_extremes<OnCpu>();
  check_not_finite<OnCpu>();
}

TEST_CASE_TEMPLATE("tokens are drawn as the references say, on a GPU" * doctest::skip(!have_gpu()),
                   T, float, testing::Bf16) {
  check_all_draws<OnGpu<T>>();
  check_extremes<OnGpu<T>>();
  check_not_finite<OnGpu<T>>();
}

TEST_CASE("a large vocabulary is drawn from on a GPU" * doctest::skip(!have_gpu())) {
  for (const SamplingParams& params : kParams)
    check_draws<OnGpu<float>>(make_draws(normal(3 * 151936, 300, 0, 3), 151936, params));
}

TEST_CASE("random numbers of a GPU are those of the host" * doctest::skip(!have_gpu())) {
  std::vector<uint64_t> keys;
  Ints counters;
  std::vector<double> want;
  for (int32_t i = 0; i < 257; ++i) {
    const Rng rng(11, Stream::sampling, 3, static_cast<uint64_t>(i), 2);
    keys.push_back(rng.key());
    counters.push_back(i * 8388607);  // up to 2^31
    want.push_back(rng.uniform(static_cast<uint64_t>(counters.back())));
  }
  OnDevice<uint64_t> gkeys(keys);
  OnDevice<int32_t> gcounters(counters);
  OnDevice<double> out(257);
  kernels::device::uniform(gkeys.data(), gcounters.data(), out.data(), 257, nullptr);
  CHECK(out.host() == want);
}

TEST_CASE("idle slots are not drawn for" * doctest::skip(!have_gpu())) {
  OnDevice<float> logits(Floats{1, 2, 3, 4}), logprob(Floats{7, 7}), plain(Floats{7, 7});
  OnDevice<SlotSampling> slots(std::vector<SlotSampling>{{.temperature = 0}, {.temperature = 0}});
  OnDevice<int32_t> counters(2), positions(Ints{-1, 5}), ids(Ints{-7, -7});
  kernels::device::sample(logits.data(), slots.data(), counters.data(), positions.data(),
                          ids.data(), logprob.data(), plain.data(), 2, 2, nullptr);
  CHECK(ids.host() == Ints{-7, 1});
  CHECK(logprob.host()[0] == 7);
}

// The state of a step as arrays of the host, and what it takes to run it there or on a GPU.
struct Step {
  Ints id, position, count;
  std::vector<SlotStatus> status;
  Ints limit, room, tokens;
  Floats logprob, plain;
  Ints end_ids = {2, 9}, running = {-1};

  static constexpr int64_t kCapacity = 5;

  explicit Step(int64_t batch) {
    const Rng rng(5, Stream::init);
    for (int64_t s = 0; s < batch; ++s) {
      const uint64_t bits = rng.bits(static_cast<uint64_t>(s));
      id.push_back(-1);
      position.push_back(static_cast<int32_t>(bits % 10) - 1);
      count.push_back(static_cast<int32_t>(bits / 10 % 7));
      limit.push_back(count.back() + 1 + static_cast<int32_t>(bits / 100 % 3));
      room.push_back(position.back() + 1 + static_cast<int32_t>(bits / 1000 % 3));
    }
    const auto slots = static_cast<size_t>(batch);
    status.resize(slots);
    tokens.assign(slots * kCapacity, -1);
    logprob.assign(slots * kCapacity, 7);
    plain.assign(slots * kCapacity, 7);
  }
};

TEST_CASE("a step moves its slots as the reference does" * doctest::skip(!have_gpu())) {
  for (const int64_t batch : {1, 31, 33, 257, 1024}) {
    CAPTURE(batch);
    Step want(batch);
    Ints drawn;
    Floats logprob = normal(batch, 1), plain = normal(batch, 2);
    for (int64_t s = 0; s < batch; ++s) drawn.push_back(static_cast<int32_t>(s * 7 % 11));
    logprob.back() = std::nanf("");

    OnDevice<int32_t> id(want.id), position(want.position), count(want.count), limit(want.limit),
        room(want.room), tokens(want.tokens), end_ids(want.end_ids), running(want.running),
        gdrawn(drawn);
    OnDevice<SlotStatus> status(want.status);
    OnDevice<float> kept(want.logprob), kept_plain(want.plain), glogprob(logprob), gplain(plain);
    const auto state = [](auto& i, auto& p, auto& c, auto& s, auto& l, auto& r, auto& t, auto& k,
                          auto& kp, auto& e, auto& n) {
      return kernels::device::StepState{.id = i.data(),
                                        .position = p.data(),
                                        .count = c.data(),
                                        .status = s.data(),
                                        .limit = l.data(),
                                        .room = r.data(),
                                        .tokens = t.data(),
                                        .logprob = k.data(),
                                        .plain = kp.data(),
                                        .capacity = Step::kCapacity,
                                        .end_ids = e.data(),
                                        .num_end_ids = 2,
                                        .running = n.data()};
    };
    kernels::device::advance(
        state(id, position, count, status, limit, room, tokens, kept, kept_plain, end_ids, running),
        gdrawn.data(), glogprob.data(), gplain.data(), batch, nullptr);
    kernels::ref::advance(
        state(want.id, want.position, want.count, want.status, want.limit, want.room, want.tokens,
              want.logprob, want.plain, want.end_ids, want.running),
        drawn.data(), logprob.data(), plain.data(), batch);
    CHECK(id.host() == want.id);
    CHECK(position.host() == want.position);
    CHECK(count.host() == want.count);
    CHECK((status.host() == want.status));
    CHECK(tokens.host() == want.tokens);
    CHECK(kept_plain.host() == want.plain);
    CHECK(running.host() == want.running);
    const auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
    const Floats found = kept.host();
    CHECK(std::equal(found.begin(), found.end(), want.logprob.begin(), same));
  }
}

}  // namespace
}  // namespace vernier
