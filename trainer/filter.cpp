#include "trainer/filter.h"

#include <algorithm>
#include <cmath>

#include "core/metrics/statistics.h"
#include "trainer/update.h"

namespace vernier {

void FilterConfig::bind(Binder& config) {
  config.choice("rule", rule, {"all", "spread", "between"},
                "groups that are trained on: all; those whose metric differs within the group "
                "(DAPO, verl); those whose mean metric lies strictly between two numbers "
                "(OpenRLHF)");
  config.choice(
      "metric", metric, {"accuracy", "reward"},
      "what rule looks at; a length in the reward makes groups that are all right differ");
  config.list("between", between, -1e6, 1e6, "[lo, hi] of rule = \"between\", both left out");
  config.choice("refill", refill, {"none", "batches", "missing", "predict"},
                "in place of groups that are left out: nothing; whole batches until the step is "
                "full (DAPO, verl); as many prompts as are missing (OpenRLHF); one batch of a "
                "predicted size (DOT)");
  config.number("gen_batch_prompts", gen_batch_prompts, 0, 1000000,
                "prompts of a generation batch; 0: prompts_per_step");
  config.number("max_num_gen_batches", max_num_gen_batches, 0, 1000000,
                "generation batches of a step at most, then it makes do with fewer groups; 0: no "
                "limit");
  config.number("history_window", history_window, 1, 10000, "steps that a prediction looks at");
  config.number("first_factor", first_factor, 1.0, 1000.0,
                "prompts over prompts_per_step, without history");
  config.number("min_factor", min_factor, 1.0, 1000.0, "smallest prediction");
  config.number("max_factor", max_factor, 1.0, 1000.0, "largest prediction");
  if (between.size() != 2 || !(between[0] < between[1]))
    config.error("between", "expected [lo, hi], the first below the second");
  if (!(min_factor <= max_factor))
    config.error("max_factor", cat(max_factor, " is less than min_factor = ", min_factor));
  for (const char* key : {"metric", "refill"}) config.only_if(key, rule != "all", "rule = \"all\"");
  config.only_if("between", rule == "between", cat("rule = \"", rule, "\""));
  const std::string refills = cat("refill = \"", refill, "\"");
  config.only_if("gen_batch_prompts", refill == "batches", refills);
  config.only_if("max_num_gen_batches", refill == "batches" || refill == "missing", refills);
  for (const char* key : {"history_window", "first_factor", "min_factor", "max_factor"})
    config.only_if(key, refill == "predict", refills);
}

std::string FilterConfig::drop_cause(const Group& group, bool by_channel) const {
  if (rule == "all") return "";
  std::vector<double> values;
  for (const Response& response : group.responses) {
    if (metric == "reward" && response.reward) values.push_back(*response.reward);
    if (metric == "accuracy" && response.correct) values.push_back(*response.correct ? 1 : 0);
  }
  if (values.empty() ||
      std::none_of(group.responses.begin(), group.responses.end(),
                   [&](const Response& response) { return enters(response, by_channel); }))
    return "empty";
  if (rule == "between") {
    const double mean = mean_of(values);
    return between[0] < mean && mean < between[1] ? "" : "outside";
  }
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *low < *high || group.responses.size() == 1 ? "" : "flat";
}

double FilterConfig::predicted_factor(std::span<const double> pass_rates) const {
  if (pass_rates.empty()) return first_factor;
  const auto n = static_cast<double>(pass_rates.size());
  double mean = 0, squares = 0;
  for (const double rate : pass_rates) mean += rate / n;
  if (mean == 0) return max_factor;
  for (const double rate : pass_rates) squares += (rate - mean) * (rate - mean) / n;
  return std::clamp((1 + std::sqrt(squares)) / mean, min_factor, max_factor);
}

int64_t FilterConfig::next_batch(int64_t target, int64_t kept, int64_t batches,
                                 std::span<const double> pass_rates) const {
  const bool whole = refill == "batches";
  const int64_t batch = whole && gen_batch_prompts > 0 ? gen_batch_prompts : target;
  if (batches == 0 && refill == "predict")
    return static_cast<int64_t>(static_cast<double>(target) * predicted_factor(pass_rates));
  if (batches == 0) return batch;
  const bool goes_on = (whole || refill == "missing") && kept < target &&
                       (max_num_gen_batches == 0 || batches < max_num_gen_batches);
  if (!goes_on) return 0;
  return whole ? batch : target - kept;
}

void FilterConfig::remember(double pass_rate, std::vector<double>& pass_rates) const {
  pass_rates.push_back(pass_rate);
  const int64_t surplus = std::ssize(pass_rates) - history_window;
  if (surplus > 0) pass_rates.erase(pass_rates.begin(), pass_rates.begin() + surplus);
}

}  // namespace vernier
