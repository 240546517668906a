// Advantages, losses and gradients against golden values.
#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "algos/algorithm.h"
#include "algos/parts.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::golden;
using testing::worst;
using Doubles = std::vector<double>;

std::unique_ptr<Algorithm> make(const std::string& name, const std::string& keys = "",
                                int64_t max_completion_length = 16) {
  ConfigFile file = ConfigFile::parse(keys, "test");
  std::unique_ptr<Algorithm> out;
  file.bind([&](Binder& root) {
    out = AlgorithmRegistry::all().at(name).make(root, {8, max_completion_length});
  });
  return out;
}

GroupTable table_of(const std::vector<Doubles>& groups) {
  GroupTable table;
  for (const Doubles& group : groups) {
    for (const double reward : group) {
      table.reward.push_back(reward);
      table.correct.push_back(reward == 1 ? 1 : 0);
      table.length.push_back(10);
      table.mean_logprob.push_back(-0.3);
      table.active.push_back(1);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
  }
  return table;
}

// A batch from nested values; `logprob` carries the gradient.
TokenBatch batch_of(const std::vector<Doubles>& lp, const std::vector<Doubles>& old,
                    const std::vector<Doubles>& reference, const std::vector<Doubles>& advantage) {
  const auto flat = [](const std::vector<Doubles>& rows) {
    Doubles out;
    for (const Doubles& row : rows) out.insert(out.end(), row.begin(), row.end());
    return at::tensor(out);
  };
  TokenBatch batch;
  batch.logprob = flat(lp).requires_grad_(true);
  batch.entropy = at::zeros_like(batch.logprob);
  batch.old = flat(old);
  batch.reference = flat(reference);
  batch.advantage = flat(advantage);
  std::vector<int64_t> sequence;
  for (size_t i = 0; i < lp.size(); ++i) {
    batch.lengths.push_back(static_cast<int64_t>(lp[i].size()));
    batch.sequences.push_back(static_cast<int64_t>(i));
    sequence.insert(sequence.end(), lp[i].size(), static_cast<int64_t>(i));
  }
  batch.sequence = at::tensor(sequence);
  batch.totals = {batch.logprob.numel(), static_cast<int64_t>(lp.size()), 4};
  return batch;
}

Doubles gradient_of(const Algorithm& algorithm, TokenBatch& batch, const Coupling* coupling,
                    double* value) {
  const Loss loss = algorithm.loss(batch, coupling);
  loss.value.backward();
  if (value != nullptr) *value = loss.value.item<double>();
  const at::Tensor& grad = batch.logprob.grad();
  return {grad.const_data_ptr<double>(), grad.const_data_ptr<double>() + grad.numel()};
}

TEST_CASE("grpo advantages: golden G0 and the zoo's groups") {
  const auto grpo = make("grpo");
  Doubles nearly(16, 1.0);
  nearly.back() = 0;
  Doubles found = grpo->credit(table_of({nearly}));
  CHECK(found[0] == doctest::Approx(0.249999).epsilon(1e-5));
  CHECK(found[15] == doctest::Approx(-3.749985).epsilon(1e-6));
  found = grpo->credit(table_of({{0.73, 0.6, 0.2, 0, 0, 0}, {1, 1, 1, 0, 0, 0}}));
  const Doubles want = {1.441708, 1.047135, -0.166935, -0.773970, -0.773970, -0.773970,
                        0.912869, 0.912869, 0.912869,  -0.912869, -0.912869, -0.912869};
  CHECK(worst(found, want) < 1e-6);
  const std::vector<Doubles> zoo = {{1, 1, 1, 0, 1, 0, 1, 0}, {0, 0, 1, 0, 0, 1, 0, 0}};
  found = grpo->credit(table_of(zoo));
  CHECK(found[0] == doctest::Approx(0.724567).epsilon(1e-6));
  CHECK(found[3] == doctest::Approx(-1.207612).epsilon(1e-6));
  CHECK(found[10] == doctest::Approx(1.620182).epsilon(1e-6));
  CHECK(found[8] == doctest::Approx(-0.540061).epsilon(1e-5));
  CHECK(make("grpo", "advantage_eps = 1e-4")->credit(table_of(zoo))[0] ==
        doctest::Approx(0.724429).epsilon(1e-6));
  found = make("grpo", "scale_rewards = \"none\"")->credit(table_of(zoo));
  CHECK(found[0] == doctest::Approx(0.375));
  CHECK(found[3] == doctest::Approx(-0.625));
}

TEST_CASE("grpo advantages: surrogate groups, one response, equal rewards") {
  const auto grpo = make("grpo");
  CHECK(worst(grpo->credit(table_of({{0.9375, 1.25, 1.432183, 1.5, 1.0, -0.5, 0, -1}})),
              Doubles{0.378768, 0.707523, 0.899183, 0.970527, 0.444519, -1.133507, -0.607498,
                      -1.659515}) < 1e-6);
  CHECK(worst(grpo->credit(table_of({{1.4375, 1.75, 1.932183, 2, 1.5, 0, 0, -1}})),
              Doubles{0.431258, 0.709107, 0.871089, 0.931386, 0.486827, -0.846850, -0.846850,
                      -1.735968}) < 1e-6);
  CHECK(grpo->credit(table_of({{0.7}}))[0] == doctest::Approx(0.7 / (1 + 1e-6)));
  CHECK(grpo->credit(table_of({{0.7, 0.7, 0.7}})) == Doubles{0, 0, 0});
}

TEST_CASE("an abstention leaves the others as if it were not there") {
  const auto grpo = make("grpo");
  GroupTable with = table_of({{1, 0, 0.5, 0}});
  with.reward[2] = std::nan("");
  with.active[2] = 0;
  const Doubles found = grpo->credit(with), without = grpo->credit(table_of({{1, 0, 0}}));
  CHECK(found == Doubles{without[0], without[1], 0, without[2]});
}

TEST_CASE("the one response that is left of a group teaches nothing") {
  GroupTable table = table_of({{1, 0, 0.5}});
  table.active = {0, 1, 0};
  table.reward[1] = 0.8;
  CHECK(make("grpo")->credit(table) == Doubles{0, 0, 0});
}

const std::vector<Doubles> kLp = {{-0.5, -1.0, -2.0, -0.1}, {-1.5, -0.3}, {-0.8, -0.9, -1.1}};
const std::vector<Doubles> kOld = {{-0.7, -0.9, -2.5, -0.25}, {-1.0, -0.9}, {-0.8, -2.4, -1.0}};
const std::vector<Doubles> kRef = {{-0.6, -1.2, -1.8, -0.2}, {-1.4, -0.5}, {-1.0, -1.0, -1.0}};
const std::vector<Doubles> kAdvantage = {{1, 1, 1, 1}, {-0.5, -0.5}, {-1.5, -1.5, -1.5}};

double zoo_loss(const std::string& keys, int64_t max_length = 4) {
  TokenBatch batch = batch_of(kLp, kOld, kRef, kAdvantage);
  batch.totals.max_completion_length = max_length;
  return make("grpo", keys)->loss(batch, nullptr).value.item<double>();
}

TEST_CASE("clipped loss under every aggregation: the zoo's golden values") {
  CHECK(zoo_loss("") == doctest::Approx(0.713797).epsilon(1e-6));
  CHECK(zoo_loss("loss_aggregation = \"token-sum\"") == doctest::Approx(6.424177).epsilon(1e-6));
  CHECK(zoo_loss("loss_aggregation = \"seq-mean-token-sum\"") ==
        doctest::Approx(2.141392).epsilon(1e-6));
  CHECK(zoo_loss("loss_aggregation = \"seq-mean-token-mean\"") ==
        doctest::Approx(0.910708).epsilon(1e-6));
  CHECK(zoo_loss("loss_aggregation = \"seq-mean-token-sum-norm\"") ==
        doctest::Approx(0.535348).epsilon(1e-6));
  CHECK(zoo_loss("loss_aggregation = \"seq-mean-token-sum-norm\"", 8) ==
        doctest::Approx(0.267674).epsilon(1e-5));
  CHECK(zoo_loss("loss_aggregation = \"seq-mean-token-mean\"\nbeta = 0.04") ==
        doctest::Approx(0.911161).epsilon(1e-6));
  TokenBatch batch = batch_of(kLp, kOld, kRef, kAdvantage);
  CHECK(k3(batch.logprob, batch.reference).mean().item<double>() ==
        doctest::Approx(0.011383).epsilon(1e-4));
}

TEST_CASE("the loss does not depend on the split into micro-batches") {
  for (const std::string& mode : loss_aggregations()) {
    const auto grpo = make("grpo", cat("loss_aggregation = \"", mode, "\"\nbeta = 0.04"));
    TokenBatch whole = batch_of(kLp, kOld, kRef, kAdvantage);
    double value = 0, sum = 0;
    const Doubles grad = gradient_of(*grpo, whole, nullptr, &value);
    Doubles parts;
    for (size_t i = 0; i < kLp.size(); ++i) {
      TokenBatch part = batch_of({kLp[i]}, {kOld[i]}, {kRef[i]}, {kAdvantage[i]});
      part.totals = whole.totals;
      double one = 0;
      for (const double g : gradient_of(*grpo, part, nullptr, &one)) parts.push_back(g);
      sum += one;
    }
    CHECK(sum == doctest::Approx(value).epsilon(1e-12));
    CHECK(worst(parts, grad) < 1e-12);
  }
}

std::vector<Doubles> rows_of(const Json& sequences, const char* key) {
  std::vector<Doubles> out;
  for (const Json& one : sequences) out.push_back(one.at(key).get<Doubles>());
  return out;
}

TEST_CASE("grpo's loss and gradient equal the golden file") {
  const Json cases = golden("algos/losses.json").at("ppo");
  const Json& sequences = cases.at("sequences");
  for (const Json& one : cases.at("cases")) {
    const std::string keys = cat("loss_aggregation = ", dump_json(one.at("aggregation")),
                                 "\nepsilon = ", dump_json(one.at("clip_low")),
                                 "\nepsilon_high = ", dump_json(one.at("clip_high")),
                                 "\nbeta = ", dump_json(one.at("kl_coefficient")));
    CAPTURE(keys);
    TokenBatch batch = batch_of(rows_of(sequences, "lp"), rows_of(sequences, "old"),
                                rows_of(sequences, "ref"), rows_of(sequences, "advantage"));
    double value = 0;
    const Doubles grad = gradient_of(*make("grpo", keys), batch, nullptr, &value);
    CHECK(value == doctest::Approx(one.at("loss").get<double>()).epsilon(1e-9));
    Doubles want;
    for (const Json& row : one.at("gradient"))
      for (const Json& g : row) want.push_back(g);
    CHECK(worst(grad, want) < 1e-8);
  }
}

// A DRPO or DisCO update on groups of responses, through scalars, couple and loss.
struct Discriminative {
  GroupTable table;
  std::vector<Doubles> lp, old;
  double loss = 0;
  Coupling coupling;
  Doubles gradient;

  void add(const std::vector<std::pair<int, std::pair<Doubles, Doubles>>>& group) {
    for (const auto& [correct, values] : group) {
      table.reward.push_back(correct);
      table.correct.push_back(correct);
      table.length.push_back(static_cast<int64_t>(values.first.size()));
      table.mean_logprob.push_back(std::nan(""));
      table.active.push_back(1);
      lp.push_back(values.first);
      old.push_back(values.second);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
  }

  void run(const std::string& algorithm, const std::string& keys, int64_t capacity) {
    const auto algo = make(algorithm, keys, capacity);
    TokenBatch batch = batch_of(lp, old, lp, lp);
    coupling = algo->couple(table, algo->scalars(batch));
    loss = coupling.metrics.at("loss");
    gradient = gradient_of(*algo, batch, &coupling, nullptr);
  }

  size_t at(size_t sequence, size_t token) const {
    for (size_t i = 0; i < sequence; ++i) token += lp[i].size();
    return token;
  }
};

Discriminative golden_g1() {
  const std::vector<int> correct = {1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1};
  const std::vector<int> lengths = {4, 8, 12, 6, 5, 5, 16, 9, 3, 7, 10, 2};
  Discriminative out;
  for (int g = 0; g < 3; ++g) {
    std::vector<std::pair<int, std::pair<Doubles, Doubles>>> group;
    for (int i = 4 * g; i < 4 * g + 4; ++i) {
      Doubles lp, old;
      for (int t = 0; t < lengths[static_cast<size_t>(i)]; ++t) {
        lp.push_back(-0.1 * (1 + (3 * i + 2 * t) % 5));
        old.push_back(lp.back() + 0.002 * ((i + 2 * t) % 4 - 1));
      }
      group.push_back({correct[static_cast<size_t>(i)], {lp, old}});
    }
    out.add(group);
  }
  return out;
}

TEST_CASE("drpo and disco: golden G1") {
  struct Case {
    std::string algorithm, keys;
    double loss;
    Doubles gradient;  // at (0,0) (1,3) (2,5) (4,1) (6,15) (8,0)
  };
  const std::vector<Case> cases = {
      {"drpo",
       "lambda = 0.1\ntau = 10",
       -0.011558707959,
       {-0.084846407, -0.010995346, 0.006077449, -0.074501255, -0.000898182, -0.007834588}},
      {"drpo",
       "lambda = 0.5\ntau = 10",
       -0.010301697589,
       {-0.059706199, -0.023565450, 0.006077449, -0.074501255, -0.000898182, -0.007834588}},
      {"drpo",
       "lambda = 0.1\ntau = 0.1",
       -0.010851,
       {-0.084846407, -0.010995346, 0.008347917, -0.074501255, -0.001696101, -0.007834588}},
      {"drpo",
       "lambda = 0.1\ntau = 10\nkl_type = \"low_var_kl\"",
       -0.011791003507,
       {-0.077011818, -0.003160758, 0.013912037, -0.066666667, 0.006936406, 0}},
      {"drpo",
       "lambda = inf\ntau = 10",
       -0.009791450376,
       {-0.049501255, -0.028667922, 0.006077449, -0.074501255, -0.000898182, -0.007834588}},
      {"disco",
       "tau = 10",
       -0.009791450376,
       {-0.049501255, -0.028667922, 0.006077449, -0.074501255, -0.000898182, -0.007834588}},
      {"disco",
       "tau = 1\nscore = \"lratio\"",
       -0.000325013343,
       {-0.049584672, -0.028584755, 0.006096009, -0.074368055, -0.000867382, -0.007834588}},
      {"disco_b",
       "",
       -0.009798568650,
       {-0.049501255, -0.028667922, 0.006054300, -0.074501255, -0.000890144, -0.007834588}},
      {"disco_b",
       "score = \"lratio\"",
       -0.000325325426,
       {-0.049584672, -0.028584755, 0.006082106, -0.074368055, -0.000876241, -0.007834588}}};
  for (const Case& one : cases) {
    CAPTURE(one.algorithm);
    CAPTURE(one.keys);
    Discriminative g1 = golden_g1();
    g1.run(one.algorithm, one.keys, 16);
    // The table prints one value of the losses to six digits only.
    CHECK(std::abs(g1.loss - one.loss) <
          (one.keys.find("tau = 0.1") != std::string::npos ? 1e-6 : 1e-10));
    const Doubles found = {g1.gradient[g1.at(0, 0)],  g1.gradient[g1.at(1, 3)],
                           g1.gradient[g1.at(2, 5)],  g1.gradient[g1.at(4, 1)],
                           g1.gradient[g1.at(6, 15)], g1.gradient[g1.at(8, 0)]};
    for (size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - one.gradient[i]) < 1e-9);
  }
}

TEST_CASE("drpo: weights, divergence and advantage form of golden G1") {
  Discriminative g1 = golden_g1();
  g1.run("drpo", "lambda = 0.1\ntau = 10", 16);
  CHECK(g1.coupling.metrics.at("drpo/kl") == doctest::Approx(0.000781609195).epsilon(1e-9));
  CHECK(g1.coupling.metrics.at("drpo/kappa") == doctest::Approx(0.681609).epsilon(1e-5));
  CHECK(g1.coupling.metrics.at("drpo/penalty") == doctest::Approx(0.000232296).epsilon(1e-5));
  CHECK(g1.coupling.score_weight[0] * 3 == doctest::Approx(0.924142).epsilon(1e-6));
  CHECK(g1.coupling.score_weight[1] * 3 == doctest::Approx(0.075858).epsilon(1e-5));
  CHECK(g1.coupling.score_weight[4] * 3 == doctest::Approx(1.0));
  CHECK(g1.coupling.score_weight[2] * 3 == doctest::Approx(-0.500833).epsilon(1e-5));
  const Doubles scores = {-0.275,
                          -0.2875,
                          -0.3,
                          -0.333333333333,
                          -0.3,
                          -0.3,
                          -0.30625,
                          -0.277777777778,
                          -0.366666666667,
                          -0.328571428571,
                          -0.3,
                          -0.25};
  g1.table.mean_logprob = scores;
  const Doubles advantage = make("drpo", "lambda = 0.1\ntau = 10", 16)->credit(g1.table);
  CHECK(worst(Doubles(advantage.begin(), advantage.begin() + 4),
              Doubles{3.696567, 0.303433, -2.003333, -1.996667}) < 1e-6);
  CHECK(Doubles(advantage.begin() + 8, advantage.end()) == Doubles{0, 0, 0, 0});
}

TEST_CASE("drpo: without a valid group only the penalty is left") {
  Discriminative g1 = golden_g1();
  std::fill(g1.table.correct.begin(), g1.table.correct.end(), 1);
  g1.run("drpo", "lambda = 0.1\ntau = 10", 16);
  for (const double g : g1.gradient) CHECK(std::abs(g + 0.007834588) < 1e-9);
}

TEST_CASE("drpo: a tiny lambda stays finite, and blocks of prompts have hinges of their own") {
  Discriminative g1 = golden_g1();
  g1.run("drpo", "lambda = 1e-5\ntau = 10", 16);
  for (const double g : g1.gradient) CHECK(std::isfinite(g));
  CHECK(g1.coupling.score_weight[0] * 3 == doctest::Approx(1.0));
  // Three groups fit one block of four: the same as the whole update.
  Discriminative update = golden_g1(), block = golden_g1();
  update.run("drpo", "", 16);
  block.run("drpo", "kl_scope = \"block\"", 16);
  CHECK(update.gradient == block.gradient);
}

TEST_CASE("drpo and disco equal the golden file") {
  const Json cases = golden("algos/losses.json").at("drpo");
  for (const Json& one : cases.at("cases")) {
    Discriminative update;
    for (const Json& group : cases.at("groups")) {
      std::vector<std::pair<int, std::pair<Doubles, Doubles>>> rows;
      for (const Json& row : group)
        rows.push_back({row.at("reward").get<int>(),
                        {row.at("lp").get<Doubles>(), row.at("old").get<Doubles>()}});
      update.add(rows);
    }
    std::string keys;
    for (const char* key : {"lambda", "tau", "beta", "delta", "kl_type", "length_reward"})
      if (one.contains(key)) keys += cat(key, " = ", dump_json(one.at(key)), "\n");
    if (one.at("algo") != "drpo") keys += cat("score = ", dump_json(one.at("score")), "\n");
    CAPTURE(keys);
    update.run(one.at("algo").get<std::string>(), keys, one.value("length_capacity", int64_t{64}));
    CHECK(update.loss == doctest::Approx(one.at("loss").get<double>()).epsilon(1e-9));
    CHECK(update.coupling.metrics.at("drpo/objective") ==
          doctest::Approx(one.at("J").get<double>()).epsilon(1e-9));
    CHECK(update.coupling.metrics.at("drpo/kl") ==
          doctest::Approx(one.at("K").get<double>()).epsilon(1e-9));
    Doubles want;
    for (const Json& group : one.at("gradient"))
      for (const Json& row : group)
        for (const Json& g : row) want.push_back(g);
    CHECK(worst(update.gradient, want) < 1e-8);
  }
}

}  // namespace
}  // namespace vernier
