// Corrections, selections over the whole update, and coefficients that adapt.
#include "algos/mismatch.h"

#include <doctest/doctest.h>

#include <cmath>

#include "algos/selection.h"
#include "tests/algos_cases.h"

namespace vernier {
namespace {

using testing::batch_of;
using testing::Doubles;
using testing::kSixDigits;
using testing::loss_of;
using testing::make;
using testing::ThreeResponses;
using testing::usage_error;
using testing::worst;

const ThreeResponses kThree;

Doubles weights(const std::string& kind, double low, double high) {
  CorrectionOptions options = correction_defaults(kind);
  options.low = low;
  options.high = high;
  return numbers_of(correction_weights(kThree.batch(), options));
}

TEST_CASE("weights of tokens and responses: golden values") {
  const Doubles w = {0.904837, 1.491825, 0.904837, 0.951229, 1.221403,
                     0.904837, 1.105171, 0.246597, 2.718282};
  CHECK(worst(weights("token_tis", 0, 5), w, 1) < kSixDigits);
  Doubles capped = w, masked = w;
  capped[8] = 2;
  masked[7] = 0;
  CHECK(worst(weights("token_tis", 0, 2), capped, 1) < kSixDigits);
  CHECK(worst(weights("token_mask", 0.5, 5), masked, 1) < kSixDigits);
  const double a = 1.161834, b = 1.105171, c = 0.740818;
  CHECK(worst(weights("sequence_tis", 0, 2), Doubles{a, a, a, a, b, b, c, c, c}, 1) < kSixDigits);
  CHECK(worst(weights("sequence_mask", 0.8, 1.15), Doubles{0, 0, 0, 0, b, b, 0, 0, 0}, 1) <
        kSixDigits);
  // The third response's geometric mean is exp(-0.1) = 0.905; of the first exp(0.0375).
  CHECK(worst(weights("seq_mask_tis", 0.95, 5),
              Doubles{w[0], w[1], w[2], w[3], w[4], w[5], 0, 0, 0}, 1) < kSixDigits);
}

// Tokens that the rule lets pass.
Doubles passes(const std::vector<std::string>& rules, const Doubles& high,
               const Doubles& low = {}) {
  CorrectionOptions options;
  options.rejection = rules;
  options.rejection_high = high;
  options.rejection_low = low;
  return numbers_of(rejection_mask(kThree.batch(), options));
}

TEST_CASE("rejection rules: golden statistics") {
  // seq_mean_k1: -0.0375, -0.05, 0.1; seq_mean_k3: 0.025682, 0.013120, 0.456683.
  const auto by_response = [](double a, double b, double c) {
    return Doubles{a, a, a, a, b, b, c, c, c};
  };
  CHECK(passes({"seq_mean_k1"}, {std::exp(0.0999)}) == by_response(1, 1, 0));
  CHECK(passes({"seq_mean_k1"}, {std::exp(0.1001)}) == by_response(1, 1, 1));
  CHECK(passes({"seq_mean_k1"}, {2}, {std::exp(-0.0499)}) == by_response(1, 0, 1));
  CHECK(passes({"seq_mean_k3"}, {0.025683}) == by_response(1, 1, 0));
  CHECK(passes({"seq_mean_k3"}, {0.025681}) == by_response(0, 1, 0));
  CHECK(passes({"seq_mean_k3"}, {0.456684}) == by_response(1, 1, 1));
  CHECK(passes({"seq_sum_k1"}, {2}, {0.5}) == by_response(1, 1, 1));
  CHECK(passes({"seq_sum_k1"}, {1.34}) == by_response(1, 1, 0));  // exp(0.3) = 1.3499
  // Largest x^2 / 2: 0.08, 0.02, 0.98.
  CHECK(passes({"seq_max_k2"}, {0.081}) == by_response(1, 1, 0));
  CHECK(passes({"token_k2"}, {0.3}) == Doubles{1, 1, 1, 1, 1, 1, 1, 0, 0});
  CHECK(passes({"token_k1"}, {2}, {1e-3}) == Doubles{1, 1, 1, 1, 1, 1, 1, 0, 1});
  CHECK(passes({"token_k2", "seq_max_k2"}, {0.3, 0.05}) == by_response(0, 1, 0));
}

TEST_CASE("what was rejected counts in the denominator by AReaL's rule, not by verl's") {
  const std::string keys =
      "rejection = [\"token_k2\"]\nrejection_high = [0.3]\nrejection_denominator = ";
  const auto value = [&](const std::string& rule) {
    return loss_of(*make("grpo", keys + rule), kThree.batch(), ThreeResponses::table())
        .item<double>();
  };
  // The seven that are left sum to 6.424177 - 6.722534 - 1.357256.
  const double sum = 6.424177 - 6.722534 - 1.357256;
  CHECK(std::abs(value("\"areal\"") - sum / 9) < kSixDigits);
  CHECK(std::abs(value("\"verl\"") - sum / 7) < kSixDigits);
}

TEST_CASE("off-policy masking drops wrong answers that the policy has left") {
  // mean(rollout - logprob): -0.225, -0.1, -0.366667.
  CHECK(numbers_of(opsm_mask(kThree.batch(), 0.5)) == Doubles(9, 1.0));
  ThreeResponses three;
  for (Doubles* row : {&three.rollout[0], &three.rollout[2]})
    for (double& value : *row) value += 1;
  CHECK(numbers_of(opsm_mask(three.batch(), 0.5)) == Doubles{1, 1, 1, 1, 1, 1, 0, 0, 0});
}

TEST_CASE("normalised weights have the mean 1 over what is kept") {
  const GroupTable table = ThreeResponses::table();
  const auto factors = [&](const std::string& keys) {
    const auto algorithm = make("grpo", keys + "\ncorrection_normalize = true");
    return numbers_of(
        algorithm->couple_tokens(table, testing::detached(kThree.batch())).tokens.factor);
  };
  const Doubles token = factors("correction = \"token_mask\"");
  double sum = 0;
  for (const double value : token) sum += value;
  CHECK(token[7] == 0);
  CHECK(std::abs(sum / 8 - 1) < 1e-12);
  const Doubles sequence = factors("correction = \"sequence_tis\"");
  CHECK(std::abs((sequence[0] + sequence[4] + sequence[6]) / 3 - 1) < 1e-12);
  CHECK(std::abs(sequence[0] / sequence[6] - std::exp(0.45)) < 1e-12);
}

TEST_CASE("a correction without recorded log-probabilities is refused") {
  TokenBatch batch = kThree.batch();
  batch.rollout = at::Tensor();
  for (const std::string keys : {"correction = \"token_tis\"", "opsm_threshold = 0.5",
                                 "rejection = [\"token_k3\"]\nrejection_high = [1]"})
    CHECK(usage_error([&] { make("grpo", keys)->loss(batch, nullptr); }).find("recorded") !=
          std::string::npos);
}

TEST_CASE("covariances: golden values; Clip-Cov leaves random ones of a band out") {
  const TokenBatch b = kThree.batch();
  const Doubles cov = covariance(numbers_of(b.advantage), numbers_of(b.logprob));
  CHECK(worst(cov,
              Doubles{0.479630, -0.103704, -1.270370, 0.946296, 0.196296, -0.203704, -0.148148,
                      -0.014815, 0.251852},
              1) < kSixDigits);
  const Doubles free(9, 0.0);
  const auto mask = [&](double ratio, double low, double high, uint64_t seed) {
    return clip_cov_mask(cov, free, ratio, low, high, Rng(seed, Stream::selection));
  };
  // Four lie in (0, 1), of which two are chosen; over many draws each as often as the others.
  std::vector<int> left_out(9, 0);
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Doubles one = mask(0.25, 0, 1, seed);
    double kept = 0;
    for (size_t t = 0; t < 9; ++t) {
      kept += one[t];
      left_out[t] += one[t] == 0 ? 1 : 0;
    }
    CHECK(kept == 7);
  }
  for (const size_t t : {0U, 3U, 4U, 8U}) CHECK(std::abs(left_out[t] - 200) < 40);
  for (const size_t t : {1U, 2U, 5U, 6U, 7U}) CHECK(left_out[t] == 0);
  CHECK(mask(1e-6, 0.9, 1, 0) == Doubles{1, 1, 1, 0, 1, 1, 1, 1, 1});  // at least one
  CHECK(mask(0.9, 2, 3, 0) == Doubles(9, 1.0));
  Doubles clipped(9, 0.0);
  clipped[3] = 1;
  CHECK(clip_cov_mask(cov, clipped, 0.5, 0.9, 1, Rng(0, Stream::selection)) == Doubles(9, 1.0));
}

TEST_CASE("KL-Cov: golden G3 (f)") {
  const std::vector<Doubles> lp = {{-0.2, -1.5, -0.05, -2.0, -0.7}, {-0.3, -0.9, -2.5}};
  const std::vector<Doubles> old = {{-0.25, -1.4, -0.10, -2.2, -0.6}, {-0.35, -0.8, -2.0}};
  const std::vector<Doubles> advantage = {{0.25, 0.25, 0.25, 0.25, 0.25}, {-3.75, -3.75, -3.75}};
  const GroupTable table = testing::table_of({{1, 0}}, {5, 3});
  const Doubles cov = covariance(Doubles{0.25, 0.25, 0.25, 0.25, 0.25, -3.75, -3.75, -3.75},
                                 Doubles{-0.2, -1.5, -0.05, -2.0, -0.7, -0.3, -0.9, -2.5});
  CHECK(worst(cov,
              Doubles{1.228125, -0.721875, 1.453125, -1.471875, 0.478125, -1.796875, -0.296875,
                      3.703125},
              1) < kSixDigits);
  const auto run = [&](const std::string& keys, TokenBatch& batch) {
    return loss_of(*make("grpo", "loss = \"kl_cov\"\n" + keys), batch, table);
  };
  const auto off = [&](const std::string& keys, double want) {
    TokenBatch batch = batch_of(lp, old, lp, advantage);
    return std::abs(run(keys, batch).item<double>() - want);
  };
  const std::string sequences = "loss_aggregation = \"seq-mean-token-mean\"\n";
  CHECK(off(sequences + "cov_ratio = 0.25", 1.561642) < kSixDigits);
  CHECK(off("cov_ratio = 0.25", 1.109561) < kSixDigits);
  CHECK(off(sequences + "cov_ratio = 0.25\nkl_cov_coef = 0", 1.473309) < kSixDigits);
  CHECK(off("cov_ratio = 0.25\nkl_cov_coef = 0", 1.040811) < kSixDigits);
  CHECK(off(sequences + "cov_ratio = 0.002", 1.556642) < kSixDigits);
  CHECK(off("cov_ratio = 0.002", 1.103311) < kSixDigits);
  TokenBatch batch = batch_of(lp, old, lp, advantage);
  run(sequences + "cov_ratio = 0.25", batch).backward();
  CHECK(worst(numbers_of(batch.logprob.grad()),
              Doubles{-0.026282, -0.022621, 0.073718, -0.030535, -0.022621, 0.657044, 0.565523,
                      0.212415},
              1) < kSixDigits);
}

TEST_CASE("M2PO drops the fewest of the largest gaps: golden mask") {
  const Doubles gap = {0.5, -0.1, 0.3, 0.05, -0.8, 0.2};
  CHECK(m2po_mask(gap, 0.04) == Doubles{0, 1, 1, 1, 0, 1});
  CHECK(m2po_mask(gap, 0.0786) == Doubles{1, 1, 1, 1, 0, 1});
  CHECK(m2po_mask(gap, 0.172084) == Doubles{1, 1, 1, 1, 1, 1});
  CHECK(m2po_mask(gap, 1e-9) == Doubles{0, 0, 0, 1, 0, 0});  // one always stays
}

TEST_CASE("the tokens of highest entropy, by an interpolated quantile") {
  const Doubles entropy = {0.1, 0.9, 0.4, 0.3, 0.8};
  // Sorted .1 .3 .4 .8 .9: the quantile .8 lies at place 3.2, .82.
  CHECK(top_entropy_mask(entropy, 0.2) == Doubles{0, 1, 0, 0, 0});
  CHECK(top_entropy_mask(entropy, 0.25) == Doubles{0, 1, 0, 0, 1});
  CHECK(top_entropy_mask(Doubles{0.5, 0.5, 0.5}, 0.2) == Doubles{1, 1, 1});
}

TEST_CASE("blocks of four prompts choose by themselves") {
  GroupTable table;
  std::vector<Doubles> lp, advantage;
  for (int g = 0; g < 5; ++g) {
    testing::add_response(table, 1, 1, 2);
    testing::end_group(table);
    lp.push_back({-0.1 * (g + 1), -1.0 - 0.1 * g});
    const double value = g == 4 ? 10 : 1 + g;
    advantage.push_back({value, value});
  }
  // The third has no token in the update.
  table.active[2] = 0;
  lp.erase(lp.begin() + 2);
  advantage.erase(advantage.begin() + 2);
  TokenBatch batch = batch_of(lp, lp, lp, advantage);
  batch.sequences = {0, 1, 3, 4};
  const auto selected = [&](const std::string& scope) {
    const auto algorithm =
        make("grpo", cat("loss = \"kl_cov\"\nselection_scope = \"", scope, "\""));
    const Coupling found = algorithm->couple_tokens(table, testing::detached(batch));
    CHECK(found.first == std::vector<int64_t>{0, 2, -1, 4, 6});
    return numbers_of(found.tokens.selected);
  };
  const Doubles whole = selected("update"), blocks = selected("block");
  CHECK(whole == Doubles{0, 0, 0, 0, 0, 0, 1, 0});
  // Of the last block's two tokens the advantages are equal: the earlier one.
  CHECK(blocks == Doubles{0, 0, 0, 0, 1, 0, 1, 0});
}

TEST_CASE("beta adapts to a target: golden step") {
  const auto algorithm = make("grpo", "beta = 0.001\nkl_target = 0.1");
  algorithm->observe({.kl = 0.25, .entropy = std::nan(""), .sequences = 128, .updated = true});
  CHECK(std::abs(algorithm->state().at("beta").get<double>() - 0.00100256) < 1e-12);
  TokenBatch batch = kThree.batch();
  const auto slow = make("grpo", "beta = 0.001");
  CHECK(algorithm->loss(batch, nullptr).value.item<double>() >
        slow->loss(batch, nullptr).value.item<double>());
  CHECK(slow->state().is_null());
}

TEST_CASE("an entropy bonus acts in the update after a low entropy, and grows") {
  const std::string keys =
      "entropy_coef = 0.1\nentropy_target = 0.5\nentropy_step = 0.02\n"
      "entropy_coef_max = 0.13";
  const auto algorithm = make("grpo", keys);
  const auto bonus = [&](const Algorithm& one) {
    return one.loss(kThree.batch(), nullptr).metrics.at("entropy_coef");
  };
  const auto see = [&](double entropy) {
    algorithm->observe({.kl = std::nan(""), .entropy = entropy, .sequences = 3, .updated = true});
  };
  CHECK(bonus(*algorithm) == 0);
  see(0.4);
  CHECK(bonus(*algorithm) == doctest::Approx(0.12));
  see(0.5);
  CHECK(bonus(*algorithm) == doctest::Approx(0.13));
  see(0.6);
  CHECK(bonus(*algorithm) == 0);
  // It goes on from its state.
  const auto second = make("grpo", keys);
  second->restore(algorithm->state());
  see(0.4);
  second->observe({.kl = std::nan(""), .entropy = 0.4, .sequences = 3, .updated = true});
  CHECK(bonus(*second) == bonus(*algorithm));
  CHECK(bonus(*second) == doctest::Approx(0.13));
  CHECK(!usage_error([&] { second->restore({{"beta", 1}}); }).empty());
  CHECK(!usage_error([&] { make("grpo")->restore(algorithm->state()); }).empty());
}

TEST_CASE("Clip-Cov draws anew every update, and the same after a restart") {
  const std::string keys = "loss = \"clip_cov\"\ncov_ratio = 0.12\ncov_low = -1\ncov_high = 1";
  const auto chosen = [&](const Algorithm& one) {
    return numbers_of(one.couple_tokens(ThreeResponses::table(), testing::detached(kThree.batch()))
                          .tokens.factor);
  };
  const auto algorithm = make("grpo", keys);
  std::vector<Doubles> seen;
  for (int update = 0; update < 8; ++update) {
    seen.push_back(chosen(*algorithm));
    algorithm->observe({.kl = std::nan(""), .entropy = 1, .sequences = 3, .updated = true});
  }
  CHECK(std::count(seen.begin(), seen.end(), seen[0]) < 8);
  const auto resumed = make("grpo", keys);
  resumed->restore(algorithm->state());
  CHECK(chosen(*resumed) == chosen(*algorithm));
}

}  // namespace
}  // namespace vernier
