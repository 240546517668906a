// The policy losses: golden values, gradients, and what must hold for every one of them.
#include "algos/losses.h"

#include <doctest/doctest.h>

#include <cmath>

#include "algos/mismatch.h"
#include "core/kernels/kernels.h"
#include "tests/algos_cases.h"

namespace vernier {
namespace {

using testing::Doubles;
using testing::golden;
using testing::gradient_of;
using testing::kSixDigits;
using testing::loss_of;
using testing::make;
using testing::ThreeResponses;
using testing::usage_error;
using testing::worst;

const ThreeResponses kThree;

TEST_CASE("losses and gradients of the zoo: golden values") {
  const Json file = golden("algos/zoo_losses.json");
  for (const Json& one : file.at("cases")) {
    const std::string name = one.at("name").get<std::string>();
    CAPTURE(name);
    const auto algorithm = make(one.value("algo", "grpo"), one.at("keys").get<std::string>());
    const TokenBatch batch = kThree.batch();
    const at::Tensor loss = loss_of(*algorithm, batch, ThreeResponses::table());
    CHECK(std::abs(loss.item<double>() - one.at("loss").get<double>()) < kSixDigits);
    if (!one.contains("gradient")) continue;
    loss.backward();
    CHECK(worst(numbers_of(batch.logprob.grad()), one.at("gradient").get<Doubles>(), 1) <
          kSixDigits);
  }
}

TEST_CASE("clipped loss by token, and Dr. GRPO's divisor") {
  TokenBatch batch = kThree.batch();
  CHECK(worst(numbers_of(policy_term(batch, loss_defaults("ppo")).loss),
              Doubles{-1.2, -0.904837, -1.2, -1.161834, 0.4, 0.911059, 1.5, 6.722534, 1.357256},
              1) < kSixDigits);
  batch.totals.max_completion_length = 8;
  CHECK(std::abs(make("dr_grpo")->loss(batch, nullptr).value.item<double>() - 0.267674) <
        kSixDigits);
}

TEST_CASE("ratios of whole responses: golden values") {
  const TokenBatch b = kThree.batch();
  CHECK(worst(numbers_of(mean_by_sequence(b.logprob - b.old, b).exp()),
              Doubles{1.206230, 1.051271, 1.594670}, 1) < kSixDigits);
  const Doubles loss = numbers_of(policy_term(b, loss_defaults("gmpo")).loss);
  CHECK(worst(Doubles{-loss[0], 2 * loss[4], loss[6] / 1.5}, Doubles{1.176448, 1.105171, 1.594670},
              1) < kSixDigits);
  const Doubles vespo = numbers_of(policy_term(b, loss_defaults("vespo")).loss);
  const Doubles phi = {vespo[0] / 0.5, vespo[4] / (0.5 * -1.5), vespo[6] / (1.5 * -0.8)};
  CHECK(worst(phi, Doubles{0.157080, 1.093800, 0.148021}, 1) < kSixDigits);
}

TEST_CASE("estimators of the KL: golden values and gradients") {
  const at::Tensor d = at::tensor(Doubles{0.1, 0.2, -0.2, 0.1, -0.1, 0.2, 0.2, 0.1, -0.1});
  const auto mean = [&](const std::string& name) {
    return kl_estimate(name, "none", d).mean().item<double>();
  };
  CHECK(std::abs(mean("k1") - 0.055556) < kSixDigits);
  CHECK(std::abs(mean("k2") - 0.011667) < kSixDigits);
  CHECK(std::abs(mean("k3") - 0.011383) < kSixDigits);
  CHECK(std::abs(mean("abs") - 1.3 / 9) < 1e-12);
  for (const std::string name : {"k1", "abs", "k3"}) {
    const at::Tensor x = d.clone().requires_grad_(true);
    const at::Tensor through = kl_estimate(name + "+", "none", x);
    CHECK(worst(numbers_of(through), numbers_of(kl_estimate(name, "none", d)), 1) < 1e-15);
    through.sum().backward();
    CHECK(worst(numbers_of(x.grad()), numbers_of(d), 1) < 1e-15);
  }
  const at::Tensor far = at::tensor(Doubles{-25, 12, -2});
  CHECK(worst(numbers_of(kl_estimate("k3", "verl", far)), Doubles{10, 10, std::exp(2.0) - 3}, 1) <
        1e-12);
  CHECK(numbers_of(kl_estimate("k1", "openrlhf", far)) == Doubles{-10, 10, -2});
  CHECK(numbers_of(kl_estimate("k1", "none", far)) == Doubles{-25, 12, -2});
}

TEST_CASE("entropy of four logits: golden value") {
  const std::vector<float> logits = {2, 1, 0, -1};
  float log_sum = 0, entropy = 0;
  kernels::log_softmax(logits.data(), nullptr, 1, &log_sum, nullptr, &entropy, 1, 4);
  CHECK(std::abs(entropy - 0.947537) < kSixDigits);
}

TEST_CASE("the corrected k3 has the gradient of both its factors") {
  // k3 rho at d = lp - ref and rho = exp(lp - old): slope (1 - e^-d + k3) rho.
  TokenBatch batch = kThree.batch();
  batch.advantage = at::zeros_like(batch.advantage);
  const auto algorithm = make("grpo", "beta = 1\nkl_estimator = \"k3_corrected\"");
  const Doubles found = gradient_of(*algorithm, batch, nullptr, nullptr);
  const at::Tensor d = (batch.logprob - batch.reference).detach();
  const at::Tensor want = (1.0 - (-d).exp() + kl_estimate("k3", "none", d)) *
                          (batch.logprob - batch.old).detach().exp() / 9.0;
  CHECK(worst(found, numbers_of(want), 1) < 1e-12);
}

// dL/dlogprob of the summed token losses.
Doubles slopes(const TokenBatch& batch, const LossOptions& options) {
  policy_term(batch, options).loss.sum().backward();
  return numbers_of(batch.logprob.grad());
}

TEST_CASE("gradient facts") {
  const auto on_policy = [] {
    ThreeResponses three;
    three.old = three.lp;
    return three.batch();
  };
  const Doubles minus_advantage = {-1, -1, -1, -1, 0.5, 0.5, 1.5, 1.5, 1.5};
  SUBCASE("at a ratio of 1 every loss has the plain policy gradient, times what weighs it") {
    for (const std::string& name : policy_losses()) {
      if (name == "vespo" || name == "luspo") continue;
      CAPTURE(name);
      Doubles want = minus_advantage;
      LossOptions options = loss_defaults(name);
      options.dro_beta = 0.3;
      CHECK(worst(slopes(on_policy(), options), want, 1) < 1e-12);
    }
    LossOptions sapo = loss_defaults("sapo");
    for (const double tau : {0.2, 1.0, 7.0}) {
      sapo.tau_positive = sapo.tau_negative = tau;
      CHECK(worst(slopes(on_policy(), sapo), minus_advantage, 1) < 1e-12);
    }
    Doubles luspo = minus_advantage;
    for (size_t t = 0; t < luspo.size(); ++t) luspo[t] *= t < 4 ? 4 : t < 6 ? 2 : 3;
    CHECK(worst(slopes(on_policy(), loss_defaults("luspo")), luspo, 1) < 1e-12);
  }
  SUBCASE("the weights of cispo, dppo, vespo and gpg are constants: L = slope * logprob") {
    for (const std::string name : {"cispo", "dppo_tv", "dppo_kl", "vespo", "gpg", "reinforce"}) {
      CAPTURE(name);
      LossOptions options = loss_defaults(name);
      if (name == "reinforce") options.ratio_weight = "sequence";
      const TokenBatch b = kThree.batch();
      const Doubles loss = numbers_of(policy_term(b, options).loss);
      const Doubles slope = slopes(b, options), lp = numbers_of(b.logprob);
      for (size_t t = 0; t < lp.size(); ++t) CHECK(std::abs(slope[t] * lp[t] - loss[t]) < 1e-12);
    }
  }
  SUBCASE("sapo: -A 4 sigmoid (1 - sigmoid) rho") {
    const TokenBatch b = kThree.batch();
    const at::Tensor rho = (b.logprob - b.old).detach().exp();
    const at::Tensor tau =
        at::where(b.advantage > 0, at::ones_like(rho), 1.05 * at::ones_like(rho));
    const at::Tensor gate = (tau * (rho - 1.0)).sigmoid();
    const at::Tensor want = -b.advantage * 4.0 * gate * (1.0 - gate) * rho;
    CHECK(worst(slopes(b, loss_defaults("sapo")), numbers_of(want), 1) < 1e-12);
  }
  SUBCASE("reinforce with a token's ratio is capped") {
    LossOptions options = loss_defaults("reinforce");
    options.ratio_weight = "token";
    const Doubles slope = slopes(kThree.batch(), options);
    CHECK(std::abs(slope[7] - 1.5 * 2) < 1e-12);  // the ratio is 4.48
    CHECK(std::abs(slope[0] + std::exp(0.2)) < 1e-12);
  }
}

struct Variant {
  std::string algorithm, keys;
};

// Every loss, aggregation, correction, rejection rule, estimator and mask by its name.
std::vector<Variant> variants() {
  std::vector<Variant> out;
  const auto add = [&](const std::string& keys) { out.push_back({"grpo", keys}); };
  for (const std::string& name : policy_losses()) {
    std::string keys = cat("loss = \"", name, "\"\n");
    if (name == "dro") keys += "dro_beta = 0.3\n";
    if (name == "clip_cov") keys += "cov_low = 0\ncov_ratio = 0.3\n";
    if (name == "kl_cov") keys += "cov_ratio = 0.3\n";
    add(keys);
    for (const std::string& mode : loss_aggregations())
      add(cat(keys, "beta = 0.3\nloss_aggregation = \"", mode, "\""));
  }
  for (const std::string& name : corrections()) {
    add(cat("correction = \"", name, "\"\nbeta = 0.1"));
    if (name != "none") add(cat("correction = \"", name, "\"\ncorrection_normalize = true"));
  }
  for (const std::string& rule : rejection_rules())
    for (const std::string denominator : {"areal", "verl"})
      add(cat("rejection = [\"", rule, "\"]\nrejection_high = [1.15]\nrejection_denominator = \"",
              denominator, "\"\nbeta = 0.1\nloss_aggregation = \"seq-mean-token-mean\""));
  for (const std::string& name : kl_estimators())
    if (!name.ends_with('+')) add(cat("beta = 0.2\nkl_estimator = \"", name, "\""));
  for (const std::string& name : AlgorithmRegistry::names())
    if (name != "drpo" && !name.starts_with("disco")) out.push_back({name, ""});
  add("loss = \"reinforce\"");
  add("delta = 1.5");
  add("dual_clip = 3\nlog_ratio_clamp = \"verl\"");
  add("entropy_coef = 0.1\nentropy_mean = \"trl\"\ntop_entropy = 0.5");
  add("opsm_threshold = 0.05\nm2po_threshold = 0.04");
  add("loss = \"gspo\"\nbeta = 0.2\nkl_estimator = \"k3_corrected\"");
  return out;
}

// Whether the loss weighs log-probabilities by a ratio that it holds constant.
bool holds_ratio(const Variant& variant) {
  const std::string all = variant.algorithm + variant.keys;
  return all.find("cispo") != std::string::npos || all.find("dppo") != std::string::npos ||
         all.find("vespo") != std::string::npos;
}

// dL/dlogprob by central differences, with the weights of the update as they are in the middle.
Doubles differences(const Algorithm& algorithm, ThreeResponses three, const Coupling* held,
                    bool constant_ratio) {
  constexpr double kStep = 1e-6;
  Doubles out;
  for (size_t i = 0; i < three.lp.size(); ++i)
    for (size_t t = 0; t < three.lp[i].size(); ++t) {
      const auto at = [&](double shift) {
        ThreeResponses moved = three;
        moved.lp[i][t] += shift;
        if (constant_ratio) moved.old[i][t] += shift;
        return algorithm.loss(moved.batch(), held).value.item<double>();
      };
      out.push_back((at(kStep) - at(-kStep)) / (2 * kStep));
    }
  return out;
}

TEST_CASE("every gradient is that of its loss, by central differences") {
  for (const Variant& variant : variants()) {
    CAPTURE(variant.algorithm);
    CAPTURE(variant.keys);
    const auto algorithm = make(variant.algorithm, variant.keys);
    ThreeResponses three;
    // Away from the kinks: from a ratio of exactly 1, and from clipped ones at their bound.
    for (Doubles& row : three.lp)
      for (double& value : row) value += 0.003;
    TokenBatch batch = three.batch();
    Coupling coupling;
    const bool couples = algorithm->coupled() == Coupled::tokens;
    if (couples)
      coupling = algorithm->couple_tokens(ThreeResponses::table(), testing::detached(batch));
    const Coupling* held = couples ? &coupling : nullptr;
    const Doubles found = gradient_of(*algorithm, batch, held, nullptr);
    Doubles want;
    if (const size_t token = variant.keys.find("gspo_token"); token != std::string::npos) {
      // Its value does not move with a token; while A is that of the response it is gspo's
      // gradient.
      std::string keys = variant.keys;
      keys.replace(token, std::string("gspo_token").size(), "gspo");
      want = differences(*make(variant.algorithm, keys), three, held, false);
    } else {
      want = differences(*algorithm, three, held, holds_ratio(variant));
    }
    CHECK(worst(found, want, 1) < 2e-8);
  }
}

TEST_CASE("no loss depends on the split into micro-batches") {
  for (const Variant& variant : variants()) {
    CAPTURE(variant.algorithm);
    CAPTURE(variant.keys);
    const auto algorithm = make(variant.algorithm, variant.keys);
    TokenBatch whole = kThree.batch();
    Coupling coupling;
    const bool couples = algorithm->coupled() == Coupled::tokens;
    if (couples)
      coupling = algorithm->couple_tokens(ThreeResponses::table(), testing::detached(whole));
    const Coupling* held = couples ? &coupling : nullptr;
    double value = 0, sum = 0;
    const Doubles gradient = gradient_of(*algorithm, whole, held, &value);
    std::map<std::string, double> metrics;
    std::vector<Doubles> parts(3);
    for (const std::vector<size_t>& places : std::vector<std::vector<size_t>>{{2, 0}, {1}}) {
      TokenBatch part = kThree.batch(places);
      for (const auto& [name, number] : algorithm->loss(part, held).metrics)
        metrics[name] += number;
      double one = 0;
      const Doubles own = gradient_of(*algorithm, part, held, &one);
      sum += one;
      auto next = own.begin();
      for (const size_t i : places) {
        const auto length = static_cast<std::ptrdiff_t>(kThree.lp[i].size());
        parts[i].assign(next, next + length);
        next += length;
      }
    }
    Doubles joined;
    for (const Doubles& part : parts) joined.insert(joined.end(), part.begin(), part.end());
    CHECK(std::abs(sum - value) < 1e-12);
    CHECK(worst(joined, gradient, 1) < 1e-12);
    for (const auto& [name, number] : algorithm->loss(whole, held).metrics)
      CHECK(std::abs(metrics[name] - number) < 1e-12);
  }
}

TEST_CASE("masked responses count in seq-mean by TRL's rule") {
  TokenBatch batch = kThree.batch();
  batch.totals.responses = 4;
  const std::string keys = "loss_aggregation = \"seq-mean-token-mean\"\nsequence_count = ";
  const auto value = [&](const std::string& rule) {
    return make("grpo", keys + rule)->loss(batch, nullptr).value.item<double>();
  };
  CHECK(std::abs(value("\"verl\"") - 0.910708) < kSixDigits);
  CHECK(std::abs(value("\"trl\"") - 0.75 * 0.910708) < kSixDigits);
}

TEST_CASE(
    "an entropy bonus by TRL's rule is the mean over tokens, however the loss is aggregated") {
  TokenBatch batch = kThree.batch();
  batch.advantage = at::zeros_like(batch.advantage);
  const auto value = [&](const std::string& rule) {
    return make("grpo", cat("entropy_coef = 0.2\nloss_aggregation = \"seq-mean-token-mean\"\n"
                            "entropy_mean = \"",
                            rule, "\""))
        ->loss(batch, nullptr)
        .value.item<double>();
  };
  CHECK(std::abs(value("trl") + 0.2 * 4.5 / 9) < 1e-12);
  CHECK(std::abs(value("verl") + 0.2 * (1.7 / 4 + 1.3 / 2 + 1.5 / 3) / 3) < 1e-12);
}

TEST_CASE("keys that a loss or an advantage does not read are refused") {
  const auto message = [](const std::string& name, const std::string& keys) {
    return usage_error([&] { make(name, keys); });
  };
  const auto refused = [&](const std::string& name, const std::string& keys,
                           const std::string& part) {
    const std::string found = message(name, keys);
    CAPTURE(keys);
    CAPTURE(found);
    CHECK(found.find(part) != std::string::npos);
  };
  refused("grpo", "loss = \"gpg\"\nepsilon = 0.1", "epsilon: has no effect with loss = \"gpg\"");
  refused("cispo", "epsilon = 0.1", "epsilon: has no effect with cispo_cap = \"trl\"");
  refused("gspo", "dual_clip = 3", "dual_clip: has no effect with loss = \"gspo\"");
  refused("grpo", "dual_clip = 1", "dual_clip");
  refused("grpo", "tau_positive = 2", "tau_positive: has no effect");
  refused("rloo", "scale_rewards = \"none\"", "scale_rewards: has no effect");
  refused("dr_grpo", "advantage_eps = 1e-4", "advantage_eps: has no effect");
  refused("grpo", "kl_in = \"reward\"", "kl_in: has no effect with beta = 0");
  refused("gdpo", "beta = 0.1\nkl_in = \"reward\"", "kl_in");
  refused("grpo", "beta = 0.1\nkl_clamp = \"verl\"\nkl_estimator = \"k1\"", "kl_clamp");
  refused("grpo", "beta = 0.1\nkl_in = \"reward\"\nkl_estimator = \"k3+\"", "kl_estimator");
  refused("grpo", "loss = \"dro\"", "dro_beta");
  refused("grpo", "advantage = \"gae\"", "advantage");
  refused("grpo", "correction_high = 2", "correction_high: has no effect");
  refused("grpo", "rejection = [\"token_k1\"]", "rejection_high");
  refused("grpo", "rejection = [\"token_k2\"]\nrejection_high = [1]\nrejection_low = [1]",
          "rejection_low");
  const std::string rule = "rejection = [\"token_k2\", \"seq_sum_k1\"]\n";
  CHECK(message("grpo", rule + "rejection_high = [0.1, 1]") == "");
  refused("grpo", rule + "rejection_high = [0.1, 0.5]",
          "rejection_high: leaves seq_sum_k1 no ratio from 2 to 0.5");
  refused("grpo", rule + "rejection_high = [0.1, 2]\nrejection_low = [3]",
          "rejection_low: leaves seq_sum_k1 no ratio from 3 to 2");
  refused("grpo", rule + "rejection_high = [0.1, 0]", "rejection_high: leaves seq_sum_k1 no ratio");
  refused("grpo", rule + "rejection_high = [0.1, 0]\nrejection_low = [0]",
          "rejection_low: leaves seq_sum_k1 no ratio");
  const std::string twice = message("grpo",
                                    "rejection = [\"token_k1\", \"token_k1\"]\n"
                                    "rejection_high = [2, 2]");
  CHECK(twice.find("is in the list twice") != std::string::npos);
  CHECK(twice.find("rejection_high") == std::string::npos);
  refused("grpo", "rejection = []\nrejection_high = [2]", "rejection_high: has no effect");
  refused("grpo", "selection_scope = \"block\"", "selection_scope: has no effect");
  refused("grpo", "loss_aggregation = \"token-mean\"\nsequence_count = \"trl\"",
          "sequence_count: has no effect");
  refused("grpo", "entropy_coef = 0.1\nentropy_target = 1\nentropy_coef_max = 0.05",
          "entropy_coef");
  CHECK(message("cispo", "cispo_cap = \"verl\"\nepsilon = 0.2").empty());
  CHECK(message("grpo", "loss = \"dro\"\ndro_beta = 1").empty());
}

TEST_CASE("another loss than the preset's brings its own defaults") {
  const TokenBatch batch = kThree.batch();
  const auto value = [&](const std::string& name, const std::string& keys) {
    return make(name, keys)->loss(batch, nullptr).value.item<double>();
  };
  CHECK(value("dapo", "loss = \"gspo\"") == value("gspo", ""));
  CHECK(value("cispo", "cispo_cap = \"verl\"") ==
        value("grpo", "loss = \"cispo\"\nepsilon_high = 0.2"));
  CHECK(value("gspo", "loss = \"ppo\"") == value("grpo", ""));
  CHECK(value("cispo", "loss = \"gspo\"") == value("gspo", ""));
  CHECK(value("dapo", "delta = 4\nepsilon_high = 0.2") == value("grpo", "delta = 4"));
}

}  // namespace
}  // namespace vernier
