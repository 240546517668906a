#include "core/metrics/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/rng.h"

namespace vernier {

Json json_number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void add_estimate(Json& object, const std::string& key, const Estimate& estimate) {
  object[key] = json_number(estimate.value);
  object[key + "_low"] = json_number(estimate.low);
  object[key + "_high"] = json_number(estimate.high);
}

Json bootstrap_json(const Bootstrap& bootstrap) {
  return {
      {"seed", bootstrap.seed}, {"draws", bootstrap.draws}, {"level", 0.95}, {"cluster", "prompt"}};
}

std::vector<Estimate> bootstrap_means(const std::vector<std::vector<Tally>>& prompts,
                                      const Bootstrap& bootstrap) {
  const size_t num_columns = prompts.empty() ? 0 : prompts.front().size();
  std::vector<Estimate> out(num_columns);
  std::vector<Tally> total(num_columns);
  const auto add = [&](const std::vector<Tally>& prompt) {
    for (size_t i = 0; i < num_columns; ++i) {
      total[i].sum += prompt[i].sum;
      total[i].count += prompt[i].count;
    }
  };
  for (const auto& prompt : prompts) add(prompt);
  for (size_t i = 0; i < num_columns; ++i)
    if (total[i].count > 0) out[i].value = total[i].sum / total[i].count;

  std::vector<std::vector<double>> drawn(num_columns);
  const auto num_prompts = static_cast<int64_t>(prompts.size());
  for (int64_t draw = 0; draw < bootstrap.draws && num_columns > 0; ++draw) {
    Rng rng(bootstrap.seed, Stream::bootstrap, static_cast<uint64_t>(draw));
    std::fill(total.begin(), total.end(), Tally{});
    for (int64_t i = 0; i < num_prompts; ++i)
      add(prompts[static_cast<size_t>(rng.next_below(num_prompts))]);
    for (size_t i = 0; i < num_columns; ++i)
      if (total[i].count > 0) drawn[i].push_back(total[i].sum / total[i].count);
  }
  for (size_t i = 0; i < num_columns; ++i) {
    out[i].low = quantile_of(drawn[i], 0.025);
    out[i].high = quantile_of(drawn[i], 0.975);
  }
  return out;
}

Estimate bootstrap_value(int64_t num_prompts, const Bootstrap& bootstrap,
                         const std::function<double(std::span<const size_t>)>& value) {
  Estimate out;
  if (num_prompts == 0) return out;
  std::vector<size_t> places(static_cast<size_t>(num_prompts));
  std::iota(places.begin(), places.end(), size_t{0});
  out.value = value(places);
  std::vector<double> drawn;
  for (int64_t draw = 0; draw < bootstrap.draws; ++draw) {
    Rng rng(bootstrap.seed, Stream::bootstrap, static_cast<uint64_t>(draw));
    for (size_t& place : places) place = static_cast<size_t>(rng.next_below(num_prompts));
    if (const double one = value(places); !std::isnan(one)) drawn.push_back(one);
  }
  out.low = quantile_of(drawn, 0.025);
  out.high = quantile_of(drawn, 0.975);
  return out;
}

double quantile_of(std::vector<double> values, double q) {
  if (values.empty()) return kUndefined;
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double std_of(const std::vector<double>& values) {
  if (values.size() < 2) return values.empty() ? kUndefined : 0.0;
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace vernier
