#include "trainer/cluster_plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/model/flops.h"
#include "rollout/rows.h"
#include "trainer/step_time.h"

namespace vernier {
namespace {

// Of the data sheets: bytes/s of memory, dense bf16 operations a second, bytes/s of NVLink one way,
// bytes of memory (of an A100 those of the larger kind).
struct Device {
  double memory, flops, local;
  int64_t bytes;
};
const std::map<std::string, Device>& devices() {
  static const std::map<std::string, Device> all = {
      {"a100", {2.0e12, 312e12, 300e9, 80'000'000'000}},
      {"h100", {3.35e12, 989e12, 450e9, 80'000'000'000}},
      {"h200", {4.8e12, 989e12, 450e9, 141'000'000'000}}};
  return all;
}

double number_of(const std::string& key, const std::string& text, double least, double most) {
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || !(value >= least) ||
      value > most)
    fail("--cluster: ", key, " is '", text, "'; allowed: a number from ", least, " to ", most);
  return value;
}

}  // namespace

int64_t ClusterShape::gpu_bytes() const { return devices().at(device).bytes; }

ClusterShape read_cluster(const std::string& text) {
  ClusterShape out;
  std::set<std::string> seen;
  if (text.empty()) fail("--cluster: is empty; it takes nodes=N,gpus=G,link=GB/s");
  std::istringstream keys(text);
  for (std::string one; std::getline(keys, one, ',');) {
    const size_t equals = one.find('=');
    const std::string key = one.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : one.substr(equals + 1);
    const auto whole = [&] {
      const double number = number_of(key, value, 1, 1 << 16);
      if (number != std::floor(number)) fail("--cluster: ", key, " is '", value, "', not whole");
      return static_cast<int64_t>(number);
    };
    if (!seen.insert(key).second) fail("--cluster: ", key, " is given twice");
    if (key == "nodes") {
      out.nodes = whole();
    } else if (key == "gpus") {
      out.gpus = whole();
    } else if (key == "link") {
      out.link = number_of(key, value, 1e-3, 1e5);
    } else if (key == "local") {
      out.local = number_of(key, value, 1e-3, 1e5);
    } else if (key == "decode_share") {
      out.decode_share = number_of(key, value, 1e-3, 1);
    } else if (key == "train_share") {
      out.train_share = number_of(key, value, 1e-3, 1);
    } else if (key == "price") {
      out.price = number_of(key, value, 0, 1e6);
    } else if (key == "device") {
      if (value != "cpu" && !devices().contains(value))
        fail("--cluster: device '", value,
             "' is unknown; known: cpu (such processes as this "
             "machine's), a100, h100, h200");
      out.device = value;
    } else {
      fail("--cluster: key '", key,
           "' is unknown; known: nodes, gpus (ranks of a node), link and "
           "local (GB/s of a node, and in it), device, decode_share, train_share, price");
    }
  }
  if (out.nodes > 1 && out.link == 0)
    fail("--cluster: nodes=", out.nodes, " needs link, the GB/s of a node's network");
  for (const char* key : {"decode_share", "train_share"})
    if (out.measured() && seen.contains(key))
      fail("--cluster: ", key, " is of a GPU's data sheet, and device is cpu, which is measured");
  if (out.ranks() > 1 << 14) fail("--cluster: ", out.ranks(), " ranks; at most 16384");
  if (!out.measured() && out.local == 0) out.local = devices().at(out.device).local / 1e9;
  return out;
}

std::vector<SimulatedGroup> recorded_groups(const std::string& path, int64_t steps) {
  const fs::path folder = fs::path(path) / "rollouts";
  std::vector<std::string> files = rollout_files(fs::is_directory(folder) ? folder.string() : path);
  if (std::ssize(files) > steps) files.erase(files.begin(), files.end() - steps);
  std::vector<SimulatedGroup> out;
  for (const std::string& file : files)
    read_rollouts(file, [&](Group&& group) {
      if (!group.role.empty()) return;
      SimulatedGroup& one = out.emplace_back();
      for (const Response& response : group.responses)
        one.lengths.push_back(static_cast<double>(std::max(1, response.raw_num_tokens)));
    });
  if (out.empty()) fail(path, ": has no groups that were drawn to be trained on");
  return out;
}

ClusterCosts measured_costs(const StepRates& rates, const PlanSettings& settings,
                            const ClusterShape& shape, double copy) {
  const DrawRates& draw = rates.draw;
  const auto pass = [draw](double rows, double seen) { return pass_time(draw, rows, seen).middle; };
  return {.engine = {.max_running = settings.max_running,
                     .pass = pass,
                     .prompt_token = draw.prompt_token.middle},
          .train = rates.train,
          .optimizer_s = rates.optimizer.middle,
          .pack_s = draw.pack.middle + rates.train.pack.middle,
          .local = shape.local > 0 ? shape.local * 1e9 : copy,
          .link = shape.link * 1e9};
}

ClusterCosts assumed_costs(const PlannedJob& job, const PlanSettings& settings,
                           const ClusterShape& shape) {
  const Device& device = devices().at(shape.device);
  const ModelSpec& spec = job.model().spec();
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  const double head = number(spec.vocab_size * spec.hidden_size);
  const double all = number(job.model().num_parameters());
  const double layers = all - head * (spec.tie_word_embeddings ? 1 : 2);
  const double token_bytes =
      4 * number(spec.num_hidden_layers * spec.num_key_value_heads * spec.head_dim);
  const double attended = number(spec.num_hidden_layers * spec.num_attention_heads * spec.head_dim);
  const double memory = device.memory * shape.decode_share;
  const double drawing = device.flops * shape.decode_share;
  const double training = device.flops * shape.train_share;
  // A recorded pass is launched once, its kernels one after the other.
  const double launch = 1.3e-6 * 9 * number(spec.num_hidden_layers);
  const auto pass = [=](double rows, double seen) {
    const double read = (2 * (layers + head) + rows * seen * token_bytes) / memory;
    return std::max(read, 2 * rows * (layers + head) / drawing) + launch;
  };
  const auto fixed = [](double seconds) { return Seconds{seconds, seconds, seconds}; };
  ClusterCosts out;
  out.engine = {
      .max_running = settings.max_running, .pass = pass, .prompt_token = 2 * layers / drawing};
  out.train.forward_token = fixed(2 * layers / training);
  out.train.forward_head = fixed(2 * head / training);
  out.train.forward_seen = fixed(4 * attended / training);
  out.train.backward_token = fixed(4 * layers / training);
  out.train.backward_head = fixed(4 * head / training);
  out.train.backward_seen = fixed(8 * attended / training);
  // Weights, gradient and two moments are read, all but the gradient written, and bf16 made.
  out.optimizer_s = 30 * all / memory;
  out.local = shape.local * 1e9;
  out.link = shape.link * 1e9;
  return out;
}

namespace {

// What a rank trains on.
struct RankWork {
  double rows = 0, head = 0, seen = 0;

  void add(const SimulatedGroup& group) {
    rows += group.prompt;
    seen += group.prompt * (group.prompt + 1) / 2;
    for (const double length : group.lengths) {
      rows += length - 1;  // the last token of a response does not run
      head += length;
      seen += length * group.prompt + length * (length + 1) / 2;
    }
  }
};

class Planner {
 public:
  Planner(const PlannedJob& job, const PlanSettings& settings, const ClusterShape& shape,
          const PlannedRanks& ranks, const ClusterCosts& costs, std::vector<SimulatedGroup> groups,
          double reward_s)
      : job_(job), settings_(settings), shape_(shape), ranks_(ranks), costs_(costs) {
    simulated_.groups = std::move(groups);
    simulated_.prompts_per_step = job.config().rollout.prompts_per_step;
    simulated_.reward_s = reward_s;
    const double all = static_cast<double>(std::ssize(simulated_.groups));
    double tokens = 0, responses = 0;
    for (const SimulatedGroup& group : simulated_.groups)
      for (const double length : group.lengths) {
        tokens += length;
        ++responses;
      }
    out_.mean_length = tokens / responses;
    out_.trained_tokens = tokens / all * static_cast<double>(simulated_.prompts_per_step);
  }

  ClusterPlan run() {
    if (const int64_t given = job_.config().rollout_ranks; given >= shape_.ranks())
      fail("rollout.ranks: ", given, " of ", shape_.ranks(), " ranks cannot only sample");
    const int64_t ranks = shape_.ranks(), ahead = std::max<int64_t>(1, job_.config().max_staleness);
    out_.setups.push_back(evaluate("colocated", {ranks, ranks, true, 0}));
    out_.setups.push_back(evaluate("colocated, ahead", {ranks, ranks, true, ahead}));
    if (ranks > 1) {
      out_.setups.push_back(fastest("disaggregated", 0));
      out_.setups.push_back(fastest("disaggregated, ahead", ahead));
    }
    for (ClusterSetup& one : out_.setups) one.peak_bytes = peak_of(one.ranks);
    return std::move(out_);
  }

 private:
  static double number(int64_t value) { return static_cast<double>(value); }

  ClusterSetup evaluate(const std::string& name, const SimulatedSetup& ranks) {
    ClusterSetup out{.name = name, .ranks = ranks, .step = {}};
    simulated_.update_s = out.update_s = update_seconds(ranks.training);
    simulated_.sync_s = out.sync_s = sync_seconds(ranks);
    out.step = simulate(simulated_, ranks, costs_.engine);
    out.tokens_per_s = out_.trained_tokens / out.step.step_s;
    out.hours_per_million = number(shape_.ranks()) * 1e6 / out.tokens_per_s / 3600;
    return out;
  }

  int64_t peak_of(const SimulatedSetup& setup) const {
    PlanSettings settings = settings_;
    settings.rollout_ranks = setup.colocated ? 0 : setup.drawing;
    PlannedRanks ranks = ranks_;
    ranks.ahead = setup.max_staleness > 0;
    return ranks_peak(job_, settings, ranks);
  }

  ClusterSetup fastest(const std::string& name, int64_t max_staleness) {
    const int64_t ranks = shape_.ranks(), given = job_.config().rollout_ranks;
    std::vector<int64_t> splits = {given};
    if (given == 0) {
      splits.clear();
      const int64_t parts = std::min<int64_t>(ranks, 16);
      for (int64_t part = 1; part < parts; ++part) splits.push_back(ranks * part / parts);
      splits.erase(std::unique(splits.begin(), splits.end()), splits.end());
    }
    std::optional<ClusterSetup> best;
    for (const int64_t drawing : splits) {
      ClusterSetup one = evaluate(name, {drawing, ranks - drawing, false, max_staleness});
      if (!best || one.step.step_s < best->step.step_s) best = std::move(one);
    }
    return *best;
  }

  // Of so many bytes on every rank that trains: summed, and the sum on all of them.
  double sum_everywhere(double bytes, int64_t ranks) const {
    const int64_t here = std::min(ranks, shape_.gpus),
                  nodes = (ranks + shape_.gpus - 1) / shape_.gpus;
    const auto ring = [&](int64_t count) { return 2 * bytes * number(count - 1) / number(count); };
    double seconds = 0;
    if (here > 1) seconds += ring(here) / costs_.local;
    if (nodes > 1) seconds += ring(nodes) / costs_.link;
    return seconds;
  }

  double weight_bytes() const { return 4 * number(job_.model().num_parameters()); }

  // The largest share of the groups [first, first + prompts_per_step): whole groups, the largest
  // first, each to who has least.
  RankWork work_of(int64_t first, int64_t ranks) const {
    std::vector<RankWork> each(static_cast<size_t>(simulated_.prompts_per_step));
    for (int64_t g = 0; g < simulated_.prompts_per_step; ++g)
      each[static_cast<size_t>(g)].add(
          simulated_.groups[static_cast<size_t>((first + g) % std::ssize(simulated_.groups))]);
    const auto fewer = [](const RankWork& a, const RankWork& b) { return a.rows < b.rows; };
    std::sort(each.rbegin(), each.rend(), fewer);
    const auto more = [](const RankWork& a, const RankWork& b) { return a.rows > b.rows; };
    std::vector<RankWork> of_ranks(static_cast<size_t>(ranks));  // a heap, who has least in front
    for (const RankWork& one : each) {
      std::pop_heap(of_ranks.begin(), of_ranks.end(), more);
      of_ranks.back().rows += one.rows;
      of_ranks.back().head += one.head;
      of_ranks.back().seen += one.seen;
      std::push_heap(of_ranks.begin(), of_ranks.end(), more);
    }
    return *std::max_element(of_ranks.begin(), of_ranks.end(), fewer);
  }

  // The mean over the recorded steps.
  double update_seconds(int64_t ranks) const {
    const int64_t prompts = simulated_.prompts_per_step;
    const int64_t steps = std::max<int64_t>(1, std::ssize(simulated_.groups) / prompts);
    double sum = 0;
    for (int64_t step = 0; step < steps; ++step)
      sum += update_seconds(work_of(step * prompts, ranks), ranks);
    return sum / number(steps);
  }

  double update_seconds(const RankWork& work, int64_t ranks) const {
    const RunConfig& config = job_.config();
    const auto updates = number(job_.updates());
    const double batches =
        updates * std::max(1.0, std::ceil(work.rows / updates / number(settings_.max_tokens)));
    const TrainRates& rates = costs_.train;
    const double forward = rates.forward_token.middle * work.rows +
                           rates.forward_seen.middle * work.seen +
                           rates.forward_head.middle * work.head;
    const double backward =
        rates.backward_token.middle * work.rows + rates.backward_seen.middle * work.seen +
        rates.backward_head.middle * work.head + rates.backward_batch.middle * batches;
    const double passes =
        number(1 + passes_besides(config, job_.updates(), batches > updates || ranks > 1));
    const bool cut = settings_.shard != "none" && ranks > 1;
    const bool full = cut && settings_.shard == "full";
    const double between = sum_everywhere(weight_bytes(), ranks);
    // With all weights cut, each micro-batch gathers them on every pass, and back again, and gives
    // its gradient away.
    const double collectives = between * (full ? batches * (1.5 + 0.5 * (passes - 1)) : updates);
    return forward * passes + backward + costs_.optimizer_s * updates / (cut ? number(ranks) : 1) +
           costs_.pack_s * updates + collectives;
  }

  double sync_seconds(const SimulatedSetup& ranks) const {
    if (ranks.colocated)
      return settings_.shard == "full" && ranks.training > 1
                 ? sum_everywhere(weight_bytes(), ranks.training) / 2
                 : 0;
    return weight_bytes() / (shape_.nodes > 1 ? costs_.link : costs_.local);
  }

  const PlannedJob& job_;
  const PlanSettings& settings_;
  const ClusterShape& shape_;
  const PlannedRanks& ranks_;
  const ClusterCosts& costs_;
  SimulatedJob simulated_;
  ClusterPlan out_;
};

}  // namespace

ClusterPlan plan_cluster(const PlannedJob& job, const PlanSettings& settings,
                         const ClusterShape& shape, const PlannedRanks& ranks,
                         const ClusterCosts& costs, std::vector<SimulatedGroup> groups,
                         double reward_s) {
  return Planner(job, settings, shape, ranks, costs, std::move(groups), reward_s).run();
}

}  // namespace vernier
