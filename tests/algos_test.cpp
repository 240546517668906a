// DRPO, DisCO and the clipped loss against golden values.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/algos_cases.h"

namespace vernier {
namespace {

using testing::batch_of;
using testing::Doubles;
using testing::golden;
using testing::gradient_of;
using testing::kSixDigits;
using testing::make;
using testing::worst;

std::vector<Doubles> rows_of(const Json& sequences, const char* key) {
  std::vector<Doubles> out;
  for (const Json& one : sequences) out.push_back(one.at(key).get<Doubles>());
  return out;
}

// Distance relative to the wanted value; the distance itself where that is 0. NaN fails every
// bound.
double off_by(double found, const Json& want) {
  const double value = want.get<double>();
  return std::abs(found - value) / (value == 0 ? 1 : std::abs(value));
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
    CHECK(off_by(value, one.at("loss")) < 1e-10);
    Doubles want;
    for (const Json& row : one.at("gradient"))
      for (const Json& g : row) want.push_back(g);
    CHECK(worst(grad, want) < 1e-10);
  }
}

struct Row {
  int correct;
  Doubles lp, old;
};

// A DRPO or DisCO update on groups of responses, through scalars, couple and loss.
struct Discriminative {
  GroupTable table;
  std::vector<Doubles> lp, old;
  SequenceScalars scalars;
  Coupling coupling;
  Doubles gradient;

  void add(const std::vector<Row>& group) {
    for (const Row& row : group) {
      table.reward.push_back(row.correct);
      table.correct.push_back(row.correct);
      table.length.push_back(static_cast<int64_t>(row.lp.size()));
      table.tokens.push_back(static_cast<int64_t>(row.lp.size()));
      table.mean_logprob.push_back(std::nan(""));
      table.active.push_back(1);
      lp.push_back(row.lp);
      old.push_back(row.old);
    }
    table.offsets.push_back(static_cast<int64_t>(table.reward.size()));
  }

  void run(const std::string& algorithm, const std::string& keys, int64_t capacity = 16) {
    const auto algo = make(algorithm, keys, capacity);
    TokenBatch batch = batch_of(lp, old, lp, lp);
    scalars = algo->scalars(batch);
    coupling = algo->couple(table, scalars);
    gradient = gradient_of(*algo, batch, &coupling, nullptr);
  }

  double metric(const std::string& name) const { return coupling.metrics.at(name); }

  /// Q c_i: w_i of right answers, -p_i of wrong ones, 0 in groups without both.
  Doubles weights() const {
    Doubles out = coupling.score_weight;
    for (double& weight : out) weight *= static_cast<double>(table.groups());
    return out;
  }

  /// Group `g` by itself. Its objective is J_g: Q is 1.
  Discriminative alone(size_t g) const {
    Discriminative out;
    std::vector<Row> group;
    const auto end = static_cast<size_t>(table.offsets[g + 1]);
    for (auto i = static_cast<size_t>(table.offsets[g]); i < end; ++i)
      group.push_back({table.correct[i], lp[i], old[i]});
    out.add(group);
    return out;
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
  for (size_t g = 0; g < 3; ++g) {
    std::vector<Row> group;
    for (size_t i = 4 * g; i < 4 * g + 4; ++i) {
      Row row{correct[i], {}, {}};
      for (int t = 0; t < lengths[i]; ++t) {
        const int k = static_cast<int>(i);
        row.lp.push_back(-0.1 * (1 + (3 * k + 2 * t) % 5));
        row.old.push_back(row.lp.back() + 0.002 * ((k + 2 * t) % 4 - 1));
      }
      group.push_back(row);
    }
    out.add(group);
  }
  return out;
}

struct G1Case {
  std::string algorithm, keys;
  double j0, j1, objective, loss;
  Doubles gradient;  // at (0,0) (1,3) (2,5) (4,1) (6,15) (8,0)
};

std::vector<G1Case> g1_cases() {
  constexpr double kFirst = 0.040704550534, kSecond = -0.005331540014, kUniform = 0.035402777784;
  const Doubles strong{-0.084846407, -0.010995346, 0.006077449,
                       -0.074501255, -0.000898182, -0.007834588};
  const Doubles weak{-0.059706199, -0.023565450, 0.006077449,
                     -0.074501255, -0.000898182, -0.007834588};
  const Doubles inside{-0.077011818, -0.003160758, 0.013912037, -0.066666667, 0.006936406, 0};
  const Doubles disco{-0.049501255, -0.028667922, 0.006077449,
                      -0.074501255, -0.000898182, -0.007834588};
  const Doubles ratio{-0.049584672, -0.028584755, 0.006096009,
                      -0.074368055, -0.000867382, -0.007834588};
  const Doubles mean{-0.049501255, -0.028667922, 0.006054300,
                     -0.074501255, -0.000890144, -0.007834588};
  const Doubles mean_ratio{-0.049584672, -0.028584755, 0.006082106,
                           -0.074368055, -0.000876241, -0.007834588};
  return {{"drpo", "lambda = 0.1", kFirst, kSecond, 0.011791003507, -0.011558707959, strong},
          {"drpo", "lambda = 0.5", 0.036933519424, kSecond, 0.010533993137, -0.010301697589, weak},
          {"drpo", "kl_type = \"low_var_kl\"", kFirst, kSecond, 0.011791003507, -0.011791003507,
           inside},
          {"drpo", "lambda = inf", kUniform, kSecond, 0.010023745923, -0.009791450376, disco},
          {"disco", "", kUniform, kSecond, 0.010023745923, -0.009791450376, disco},
          {"disco", "tau = 1\nscore = \"lratio\"", -0.000000499003, 0.001672425676, 0.000557308891,
           -0.000325013343, ratio},
          {"disco_b", "", 0.035416666667, -0.005324074074, 0.010030864198, -0.009798568650, mean},
          {"disco_b", "score = \"lratio\"", 0, 0.001672862921, 0.000557620974, -0.000325325426,
           mean_ratio}};
}

// Holds an update on G1 to its row of the table, whose values are given to within `digits`.
void check_g1(const G1Case& one, double digits) {
  CAPTURE(one.algorithm);
  CAPTURE(one.keys);
  Discriminative g1 = golden_g1();
  g1.run(one.algorithm, one.keys);
  CHECK(std::abs(g1.metric("drpo/objective") - one.objective) < digits);
  CHECK(std::abs(g1.metric("loss") - one.loss) < digits);
  CHECK(g1.metric("drpo/valid_groups") == 2);
  const Doubles found = {g1.gradient[g1.at(0, 0)],  g1.gradient[g1.at(1, 3)],
                         g1.gradient[g1.at(2, 5)],  g1.gradient[g1.at(4, 1)],
                         g1.gradient[g1.at(6, 15)], g1.gradient[g1.at(8, 0)]};
  CHECK(worst(found, one.gradient, 1.0) < 1e-9);
  const Doubles objectives = {one.j0, one.j1, 0};
  for (size_t g = 0; g < 3; ++g) {
    Discriminative group = g1.alone(g);
    group.run(one.algorithm, one.keys);
    CHECK(std::abs(group.metric("drpo/objective") - objectives[g]) < digits);
    CHECK(group.metric("drpo/valid_groups") == (g < 2 ? 1 : 0));
  }
}

TEST_CASE("drpo and disco: golden G1") {
  for (const G1Case& one : g1_cases()) check_g1(one, 1e-10);
  check_g1({"drpo",
            "tau = 0.1",
            0.039336,
            -0.006086,
            0.011083,
            -0.010851,
            {-0.084846407, -0.010995346, 0.008347917, -0.074501255, -0.001696101, -0.007834588}},
           kSixDigits);
}

TEST_CASE("drpo and disco: scores, divergence and penalty of golden G1") {
  Discriminative g1 = golden_g1();
  g1.run("disco", "score = \"lratio\"\ntau = 1\nkl_type = \"low_var_kl\"");
  CHECK(worst(g1.scalars.score,
              Doubles{1.000002, 0.998004, 1.000002, 0.998004, 1.000402, 0.998403, 1.000002,
                      0.997782, 1.000669, 0.998289, 1.000002, 0.998004}) < kSixDigits);
  CHECK(std::abs(g1.metric("drpo/kl") - 2.802e-6) < 1e-9);
  CHECK(g1.metric("drpo/kappa") == 0);
  CHECK(g1.metric("drpo/penalty") == 0);
  g1.run("drpo", "lambda = 0.1\ntau = 10");
  CHECK(worst(g1.scalars.score,
              Doubles{-0.275, -0.2875, -0.3, -0.333333, -0.3, -0.3, -0.30625, -0.277778, -0.366667,
                      -0.328571, -0.3, -0.25},
              1.0) < kSixDigits);
  const double kl = g1.metric("drpo/kl"), hinge = kl - 1e-4;
  CHECK(std::abs(kl - 0.000781609195) < 1e-12);
  CHECK(std::abs(g1.metric("drpo/kappa") - 1000 * hinge) < 1e-12);
  CHECK(std::abs(g1.metric("drpo/penalty") - 500 * hinge * hinge) < 1e-15);
  CHECK(std::abs(g1.metric("drpo/penalty") - 0.000232296) < 1e-9);
}

TEST_CASE("drpo and disco: weights of golden G1") {
  const auto off = [](const std::string& algorithm, const std::string& keys, const Doubles& first,
                      const Doubles& second) {
    Discriminative g1 = golden_g1();
    g1.run(algorithm, keys);
    Doubles want = first;
    want.insert(want.end(), second.begin(), second.end());
    want.insert(want.end(), 4, 0.0);
    return worst(g1.weights(), want, 1.0);
  };
  const Doubles second = {1, -0.333156, -0.332948, -0.333897};
  CHECK(off("drpo", "lambda = 0.1\ntau = 10", {0.924142, 0.075858, -0.500833, -0.499167}, second) <
        kSixDigits);
  CHECK(off("drpo", "lambda = 0.5\ntau = 10", {0.622459, 0.377541, -0.500833, -0.499167}, second) <
        kSixDigits);
  CHECK(off("drpo", "lambda = inf\ntau = 10", {0.5, 0.5, -0.500833, -0.499167}, second) <
        kSixDigits);
  CHECK(off("disco", "tau = 1\nscore = \"lratio\"", {0.5, 0.5, -0.500500, -0.499500},
            {1, -0.333225, -0.333758, -0.333018}) < kSixDigits);
}

TEST_CASE("drpo: the advantage form takes the same step while the policy is the old one") {
  Discriminative g1 = golden_g1();
  g1.old = g1.lp;
  g1.run("drpo", "lambda = 0.1\ntau = 10");
  g1.table.mean_logprob = g1.scalars.score;
  const Doubles advantage = make("drpo", "lambda = 0.1\ntau = 10")->credit(g1.table).response;
  CHECK(worst(Doubles(advantage.begin(), advantage.begin() + 4),
              Doubles{3.696567, 0.303433, -2.003333, -1.996667}) < kSixDigits);
  CHECK(Doubles(advantage.begin() + 8, advantage.end()) == Doubles{0, 0, 0, 0});
  std::vector<Doubles> broadcast;
  for (size_t i = 0; i < g1.lp.size(); ++i) broadcast.emplace_back(g1.lp[i].size(), advantage[i]);
  TokenBatch batch = batch_of(g1.lp, g1.lp, g1.lp, broadcast);
  const auto grpo = make("grpo", "loss_aggregation = \"seq-mean-token-mean\"");
  CHECK(worst(gradient_of(*grpo, batch, nullptr, nullptr), g1.gradient, 1.0) < 1e-12);
}

// What the derivatives of the loss are checked on: every score, estimator and soft maximum. With
// low_var_kl the hinge of G1 opens at a smaller delta only.
const std::vector<std::pair<std::string, std::string>> kVariants = {
    {"drpo", "lambda = 0.1\ntau = 10"},
    {"drpo", "lambda = 0.5\ntau = 0.1\nkl_type = \"low_var_kl\"\ndelta = 1e-6\nbeta = 1e6"},
    {"disco", "score = \"lratio\"\ntau = 0.5\nkl_type = \"low_var_kl\"\ndelta = 1e-6\nbeta = 1e6"},
    {"disco_b", "score = \"lratio\""}};

TEST_CASE("drpo and disco: two shards of golden G1 add up to the whole") {
  const std::vector<std::vector<size_t>> shards = {{0, 2, 4, 6, 8, 10}, {1, 3, 5, 7, 9, 11}};
  for (const auto& [name, keys] : kVariants) {
    CAPTURE(keys);
    Discriminative whole = golden_g1();
    whole.run(name, keys);
    const auto algo = make(name, keys);
    SequenceScalars gathered{Doubles(12), Doubles(12)};
    std::vector<TokenBatch> batches;
    for (const std::vector<size_t>& shard : shards) {
      std::vector<Doubles> lp, old;
      for (const size_t i : shard) {
        lp.push_back(whole.lp[i]);
        old.push_back(whole.old[i]);
      }
      batches.push_back(batch_of(lp, old, lp, lp));
      batches.back().sequences.assign(shard.begin(), shard.end());
      const SequenceScalars own = algo->scalars(batches.back());
      for (size_t k = 0; k < shard.size(); ++k) {
        gathered.score[shard[k]] = own.score[k];
        gathered.drift[shard[k]] = own.drift[k];
      }
    }
    const Coupling coupling = algo->couple(whole.table, gathered);
    CHECK(std::abs(coupling.metrics.at("loss") - whole.metric("loss")) < 1e-15);
    Doubles sum(whole.gradient.size());
    for (size_t r = 0; r < shards.size(); ++r) {
      const Doubles own = gradient_of(*algo, batches[r], &coupling, nullptr);
      size_t next = 0;
      for (const size_t i : shards[r])
        for (size_t t = 0; t < whole.lp[i].size(); ++t) sum[whole.at(i, t)] += own[next++];
      CHECK(next == own.size());
    }
    CHECK(worst(sum, whole.gradient, 1.0) < 1e-15);
  }
}

TEST_CASE("drpo and disco: the gradient is that of the loss, by central differences") {
  constexpr double kStep = 1e-5;
  for (const auto& [name, keys] : kVariants) {
    CAPTURE(keys);
    Discriminative g1 = golden_g1();
    g1.run(name, keys);
    CHECK(g1.metric("drpo/penalty") > 0);
    const auto algo = make(name, keys);
    std::vector<Doubles> lp = g1.lp;
    const auto loss = [&] {
      const TokenBatch batch = batch_of(lp, g1.old, lp, lp);
      return algo->couple(g1.table, algo->scalars(batch)).metrics.at("loss");
    };
    Doubles slopes;
    for (Doubles& row : lp)
      for (double& value : row) {
        const double middle = value;
        value = middle + kStep;
        const double above = loss();
        value = middle - kStep;
        slopes.push_back((above - loss()) / (2 * kStep));
        value = middle;
      }
    CHECK(worst(slopes, g1.gradient, 1.0) < 1e-9);
  }
}

TEST_CASE("drpo: without a valid group only the penalty is left") {
  Discriminative g1 = golden_g1();
  std::fill(g1.table.correct.begin(), g1.table.correct.end(), 1);
  g1.run("drpo", "lambda = 0.1\ntau = 10");
  for (const double g : g1.gradient) CHECK(std::abs(g + 0.007834588) < 1e-9);
  CHECK(g1.metric("drpo/objective") == 0);
  CHECK(g1.metric("loss") == g1.metric("drpo/penalty"));
  CHECK(std::abs(g1.metric("loss") - 0.000232296) < 1e-9);
  // The official code logs beta h K in its place.
  CHECK(std::abs(g1.metric("drpo/kappa") * g1.metric("drpo/kl") - 0.000533) < kSixDigits);
}

// The keys of a golden case as a configuration. A hinge without weight has no others: the program
// refuses keys without effect.
std::string keys_of(const Json& one) {
  std::vector<const char*> names = {"lambda", "tau", "beta", "length_reward"};
  if (one.at("beta") > 0) names.insert(names.end(), {"delta", "kl_type"});
  if (one.at("algo") != "drpo") names.push_back("score");
  std::string keys;
  for (const char* name : names)
    if (one.contains(name)) keys += cat(name, " = ", dump_json(one.at(name)), "\n");
  return keys;
}

void check_weights(const Doubles& found, const Json& right, const Json& wrong) {
  size_t next = 0;
  for (size_t g = 0; g < right.size(); ++g)
    for (size_t i = 0; i < right[g].size(); ++i) {
      REQUIRE(next < found.size());
      const double want = right[g][i].get<double>() - wrong[g][i].get<double>();
      CHECK(std::abs(found[next++] - want) <= 1e-10 * std::abs(want));
    }
  CHECK(next == found.size());
}

TEST_CASE("drpo and disco equal the golden file") {
  const Json cases = golden("algos/losses.json").at("drpo");
  Discriminative update;
  for (const Json& group : cases.at("groups")) {
    std::vector<Row> rows;
    for (const Json& row : group)
      rows.push_back(
          {row.at("reward").get<int>(), row.at("lp").get<Doubles>(), row.at("old").get<Doubles>()});
    update.add(rows);
  }
  for (const Json& one : cases.at("cases")) {
    const std::string algorithm = one.at("algo").get<std::string>(), keys = keys_of(one);
    const auto capacity = one.value("length_capacity", int64_t{64});
    CAPTURE(algorithm);
    CAPTURE(keys);
    update.run(algorithm, keys, capacity);
    CHECK(off_by(update.metric("loss"), one.at("loss")) < 1e-10);
    CHECK(off_by(update.metric("drpo/objective"), one.at("J")) < 1e-10);
    CHECK(off_by(update.metric("drpo/penalty"), one.at("penalty")) < 1e-10);
    CHECK(off_by(update.metric("drpo/kl"), one.at("K")) < 1e-10);
    check_weights(update.weights(), one.at("w"), one.at("p"));
    for (size_t g = 0; g < one.at("J_q").size(); ++g) {
      Discriminative group = update.alone(g);
      group.run(algorithm, keys, capacity);
      const Json& want = one.at("J_q")[g];
      CHECK(group.metric("drpo/valid_groups") == (want.is_null() ? 0 : 1));
      if (!want.is_null()) CHECK(off_by(group.metric("drpo/objective"), want) < 1e-10);
    }
    Doubles want;
    for (const Json& group : one.at("gradient"))
      for (const Json& row : group)
        for (const Json& g : row) want.push_back(g);
    CHECK(worst(update.gradient, want) < 1e-10);
  }
}

}  // namespace
}  // namespace vernier
