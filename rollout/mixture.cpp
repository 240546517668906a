#include "rollout/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/rng.h"
#include "core/base/text.h"
#include "core/metrics/metrics.h"

namespace vernier {
namespace {

const MetricDocs docs = {
    {"data/<source>/share", "share", "[[data.source]]: of the next prompts that are of it"},
    {"data/<source>/pass_rate", "share",
     "[[data.source]]: right responses of its groups, running mean over steps"},
    {"data/<source>/prompts", "prompts", "[[data.source]]: of it so far"},
    {"data/<source>/epochs", "epochs", "[[data.source]]: how often each of its rows came so far"}};

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace

void CurriculumConfig::bind(Binder& config) {
  config.choice("mode", mode, {"none", "pass_rate", "unlock"},
                "how the shares of the sources follow the pass rates");
  config.number("target", target, 0.0, 1.0, "pass rate that is preferred");
  config.number("width", width, 1e-3, 10.0, "how far from it a source still comes often");
  config.number("floor", floor, 0.0, 1.0, "part of its weight that a source keeps anyhow");
  config.number("threshold", threshold, 0.0, 1.0, "pass rate at which the next source joins");
  config.number("decay", decay, 0.0, 1.0, "of the running means; 0: the last step alone");
  for (const char* key : {"target", "width", "floor"})
    config.only_if(key, mode == "pass_rate", cat("mode = \"", mode, '"'));
  config.only_if("threshold", mode == "unlock", cat("mode = \"", mode, '"'));
  config.only_if("decay", mode != "none", "mode = \"none\"");
}

Mixture::Mixture(std::vector<MixturePart> parts, const CurriculumConfig& curriculum, uint64_t seed)
    : parts_(std::move(parts)), curriculum_(curriculum), seed_(seed), standings_(parts_.size()) {
  ensure(!parts_.empty(), "a mixture of something");
  shares_ = shares();
}

std::vector<double> Mixture::shares() const {
  std::vector<double> out;
  for (size_t i = 0; i < parts_.size(); ++i) {
    double factor = 1;
    const double rate = standings_[i].pass_rate;
    if (curriculum_.mode == "pass_rate" && rate >= 0) {
      const double off = (rate - curriculum_.target) / curriculum_.width;
      factor = curriculum_.floor + (1 - curriculum_.floor) * std::exp(-off * off);
    }
    if (curriculum_.mode == "unlock" && i >= joined_) factor = 0;
    out.push_back(parts_[i].weight * factor);
  }
  // Far from the target on all sides: the weights.
  if (!(sum_of(out) > 0))
    for (size_t i = 0; i < parts_.size(); ++i) out[i] = parts_[i].weight;
  const double sum = sum_of(out);
  for (double& share : out) share /= sum;
  return out;
}

size_t Mixture::choose(int64_t place) const {
  double left = Rng(seed_, Stream::mixture, static_cast<uint64_t>(place)).uniform(0);
  size_t last = 0;
  for (size_t i = 0; i < shares_.size(); ++i) {
    if (shares_[i] == 0) continue;
    last = i;
    if (left < shares_[i]) break;
    left -= shares_[i];
  }
  return last;
}

std::vector<Prompt> Mixture::take(int64_t first, int64_t count) const {
  ensure(first >= base_, "prompts from where the last step ended on");
  std::vector<size_t> order;
  std::vector<int64_t> begin, wanted(parts_.size());
  for (const Standing& one : standings_) begin.push_back(one.taken);
  for (int64_t place = base_; place < first; ++place) ++begin[choose(place)];
  for (int64_t place = first; place < first + count; ++place) {
    order.push_back(choose(place));
    ++wanted[order.back()];
  }
  std::vector<std::vector<Prompt>> own;  // of each source in its order
  for (size_t i = 0; i < parts_.size(); ++i)
    own.push_back(wanted[i] > 0 ? parts_[i].prompts->take(begin[i], wanted[i])
                                : std::vector<Prompt>());
  std::vector<Prompt> out;
  std::vector<size_t> next(parts_.size());
  for (size_t k = 0; k < order.size(); ++k) {
    const size_t source = order[k];
    Prompt& prompt = out.emplace_back(std::move(own[source][next[source]++]));
    prompt.source = static_cast<int32_t>(source);
    prompt.index = first + static_cast<int64_t>(k);
    prompt.id = cat(parts_[source].name, '/', prompt.id);
  }
  return out;
}

void Mixture::learn(int64_t next, std::span<const SourceOutcome> outcomes) {
  for (; base_ < next; ++base_) ++standings_[choose(base_)].taken;
  if (curriculum_.mode == "none") return;
  std::vector<double> sums(parts_.size()), counts(parts_.size());
  for (const SourceOutcome& one : outcomes) {
    sums[static_cast<size_t>(one.source)] += one.pass_rate;
    counts[static_cast<size_t>(one.source)] += 1;
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (counts[i] == 0) continue;
    double& rate = standings_[i].pass_rate;
    const double now = sums[i] / counts[i];
    rate = rate < 0 ? now : curriculum_.decay * rate + (1 - curriculum_.decay) * now;
  }
  if (curriculum_.mode == "unlock" && joined_ < parts_.size() &&
      standings_[joined_ - 1].pass_rate >= curriculum_.threshold)
    ++joined_;
  shares_ = shares();
}

Json Mixture::state() const {
  Json out = {{"place", base_}, {"joined", joined_}, {"sources", Json::array()}};
  for (size_t i = 0; i < parts_.size(); ++i)
    out["sources"].push_back({{"name", parts_[i].name},
                              {"taken", standings_[i].taken},
                              {"pass_rate", standings_[i].pass_rate}});
  return out;
}

void Mixture::restore(const Json& state) {
  if (state.is_null()) return;
  std::vector<std::string> names, own;
  for (const MixturePart& part : parts_) own.push_back(part.name);
  try {
    for (const Json& one : state.at("sources")) names.push_back(one.at("name"));
    if (names != own)
      fail("data.source: the checkpoint was made with ", join(names), ", this run has ", join(own));
    for (size_t i = 0; i < parts_.size(); ++i)
      standings_[i] = {state["sources"][i].at("taken"), state["sources"][i].at("pass_rate")};
    base_ = state.at("place");
    joined_ = std::clamp<size_t>(state.at("joined"), 1, parts_.size());
  } catch (const Json::exception& problem) {
    fail("the checkpoint's state of data.source is damaged: ", problem.what());
  }
  shares_ = shares();
}

std::vector<std::pair<std::string, double>> Mixture::numbers() const {
  std::vector<std::pair<std::string, double>> out;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const std::string prefix = cat("data/", parts_[i].name, '/');
    const auto taken = static_cast<double>(standings_[i].taken);
    out.emplace_back(prefix + "share", shares_[i]);
    out.emplace_back(prefix + "prompts", taken);
    if (curriculum_.mode != "none")
      out.emplace_back(prefix + "pass_rate",
                       standings_[i].pass_rate < 0 ? std::nan("") : standings_[i].pass_rate);
    if (const int64_t size = parts_[i].prompts->size(); size > 0)
      out.emplace_back(prefix + "epochs", taken / static_cast<double>(size));
  }
  return out;
}

std::vector<int64_t> apportioned(const std::vector<double>& weights, int64_t count) {
  const double sum = sum_of(weights);
  std::vector<int64_t> out;
  std::vector<std::pair<double, size_t>> rest;  // remainders, largest first
  int64_t left = count;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double share = weights[i] / sum * static_cast<double>(count);
    out.push_back(static_cast<int64_t>(std::floor(share + 1e-9)));
    rest.emplace_back(static_cast<double>(out.back()) - share, i);
    left -= out.back();
  }
  std::sort(rest.begin(), rest.end());
  for (size_t i = 0; left > 0; ++i, --left) ++out[rest[i % rest.size()].second];
  return out;
}

EvaluationMixture::EvaluationMixture(std::vector<MixturePart> parts, int64_t count)
    : parts_(std::move(parts)) {
  std::vector<double> weights;
  for (const MixturePart& part : parts_) weights.push_back(part.weight);
  counts_ = apportioned(weights, count);
  for (size_t i = 0; i < parts_.size(); ++i) {
    counts_[i] = std::min(counts_[i], parts_[i].prompts->size());
    size_ += counts_[i];
  }
}

std::vector<Prompt> EvaluationMixture::take(int64_t first, int64_t count) const {
  std::vector<Prompt> out;
  int64_t begin = 0;  // of the source
  for (size_t i = 0; i < parts_.size(); begin += counts_[i++]) {
    const int64_t from = std::max(first, begin), to = std::min(first + count, begin + counts_[i]);
    if (from >= to) continue;
    std::vector<Prompt> own = parts_[i].prompts->take(from - begin, to - from);
    for (size_t k = 0; k < own.size(); ++k) {
      own[k].source = static_cast<int32_t>(i);
      own[k].index = from + static_cast<int64_t>(k);
      own[k].id = cat(parts_[i].name, '/', own[k].id);
      out.push_back(std::move(own[k]));
    }
  }
  return out;
}

}  // namespace vernier
