#include "core/model/rope_spec.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"

namespace vernier {
namespace {

std::vector<double> factors(const JsonField& list) {
  std::vector<double> out;
  for (size_t i = 0; i < list.entries(); ++i) out.push_back(list.entry(i).real());
  return out;
}

// The kind by either of its two names.
std::string kind_of(const JsonField& object) {
  const std::string kind = object.text("rope_type", object.text("type", "default"));
  if (const std::string old = object.text("type", kind); old != kind)
    object.refuse("type \"", old, "\" and rope_type \"", kind, "\" do not agree");
  const auto& known = rope_kinds();
  if (std::find(known.begin(), known.end(), kind) == known.end())
    object.refuse("RoPE kind \"", kind, "\" is not supported", suggestion(kind, known),
                  "; supported: ", join(known));
  return kind;
}

// The kind, and what it reads beyond the base.
void read_scaling(const JsonField& object, int64_t max_position_embeddings, RopeSpec& rope) {
  object.only({"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor",
               "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
               "mscale", "mscale_all_dim", "truncate", "low_freq_factor", "high_freq_factor",
               "short_factor", "long_factor", "finetuned"});
  const std::string& kind = rope.kind = kind_of(object);
  rope.theta = object.real("rope_theta", rope.theta);
  if (kind == "linear" || kind == "dynamic") rope.factor = object.at("factor").real();
  if (kind != "yarn" && kind != "llama3" && kind != "longrope") return;
  if (rope.original_max_position_embeddings == 0)
    rope.original_max_position_embeddings =
        object.integer("original_max_position_embeddings", max_position_embeddings);
  if (kind == "llama3") {
    rope.factor = object.at("factor").real();
    rope.low_freq_factor = object.at("low_freq_factor").real();
    rope.high_freq_factor = object.at("high_freq_factor").real();
    return;
  }
  if (kind == "yarn" && !object->contains("factor")) object.at("factor");  // null: the ratio
  rope.factor =
      object.real("factor", static_cast<double>(max_position_embeddings) /
                                static_cast<double>(rope.original_max_position_embeddings));
  rope.attention_factor = object.real("attention_factor", 0);
  if (object.has("attention_factor") && !(rope.attention_factor > 0))  // 0 is left out
    object.at("attention_factor").refuse(rope.attention_factor, " is not above 0");
  if (kind == "longrope") {
    rope.short_factor = factors(object.at("short_factor"));
    rope.long_factor = factors(object.at("long_factor"));
    return;
  }
  rope.beta_fast = object.real("beta_fast", 32);
  rope.beta_slow = object.real("beta_slow", 1);
  rope.mscale = object.real("mscale", 0);
  rope.mscale_all_dim = object.real("mscale_all_dim", 0);
  rope.truncate = object.flag("truncate", true);
}

}  // namespace

const std::vector<std::string>& rope_kinds() {
  static const std::vector<std::string> kinds = {"default", "linear", "dynamic",
                                                 "yarn",    "llama3", "longrope"};
  return kinds;
}

void check_rope(const RopeSpec& rope, const RefuseRope& refuse) {
  const std::string& kind = rope.kind;
  const auto above = [&](const char* key, double value, double bound) {
    if (!std::isfinite(value)) refuse(key, cat(value, " is not finite"));
    if (!(value > bound)) refuse(key, cat(value, " is not above ", bound));
  };
  above("rope_theta", rope.theta, kind == "yarn" ? 1 : 0);  // yarn divides by its logarithm
  if (kind == "yarn" || kind == "llama3" || kind == "longrope")
    above("original_max_position_embeddings",
          static_cast<double>(rope.original_max_position_embeddings), 1);
  above("factor", rope.factor, 0);
  if (kind == "llama3") {
    above("low_freq_factor", rope.low_freq_factor, 0);
    above("high_freq_factor", rope.high_freq_factor, 0);
    if (rope.high_freq_factor <= rope.low_freq_factor)
      refuse("high_freq_factor",
             cat(rope.high_freq_factor, " is not above low_freq_factor = ", rope.low_freq_factor));
  }
  above("beta_fast", rope.beta_fast, 0);
  above("beta_slow", rope.beta_slow, 0);
  for (const double factor : rope.short_factor) above("short_factor", factor, 0);
  for (const double factor : rope.long_factor) above("long_factor", factor, 0);
}

RopeSpec read_rope(const JsonField& config, double default_theta, int64_t max_position_embeddings) {
  RopeSpec rope;
  rope.theta = config.real("rope_theta", default_theta);
  const bool old_keys = config.has("rope_scaling"), new_keys = config.has("rope_parameters");
  if (old_keys && new_keys &&
      config.at("rope_scaling").value() != config.at("rope_parameters").value())
    config.refuse("rope_scaling and rope_parameters do not agree");
  // Phi-3's place for it, which counts first in `transformers`.
  rope.original_max_position_embeddings = config.integer("original_max_position_embeddings", 0);
  const bool scaled = old_keys || new_keys;
  const JsonField object =
      scaled ? config.at(old_keys ? "rope_scaling" : "rope_parameters") : config;
  if (scaled) read_scaling(object, max_position_embeddings, rope);
  check_rope(rope, [&](const char* key, const std::string& what) {
    for (const JsonField* place : {&object, &config})
      if (place->has(key)) place->at(key).refuse(what);
    object.refuse(key, ": ", what);
  });
  return rope;
}

void write_rope(const RopeSpec& rope, Json& config) {
  config["rope_theta"] = rope.theta;
  if (rope.kind == "default") return;
  Json scaling = {{"rope_type", rope.kind}, {"factor", rope.factor}};
  if (rope.original_max_position_embeddings > 0)
    scaling["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  const auto given = [&](const char* key, double value) {
    if (value != 0) scaling[key] = value;
  };
  given("attention_factor", rope.attention_factor);
  given("low_freq_factor", rope.low_freq_factor);
  given("high_freq_factor", rope.high_freq_factor);
  if (rope.kind == "yarn") {
    scaling["beta_fast"] = rope.beta_fast;
    scaling["beta_slow"] = rope.beta_slow;
    given("mscale", rope.mscale);
    given("mscale_all_dim", rope.mscale_all_dim);
    if (!rope.truncate) scaling["truncate"] = false;
  }
  if (rope.kind == "longrope") {
    scaling["short_factor"] = rope.short_factor;
    scaling["long_factor"] = rope.long_factor;
  }
  config["rope_scaling"] = scaling;
}

int64_t longest_sequence(const RopeSpec& rope, int64_t max_position_embeddings) {
  double base = 0;
  if (rope.kind == "linear") base = static_cast<double>(max_position_embeddings);
  if (rope.kind == "yarn") base = static_cast<double>(rope.original_max_position_embeddings);
  const double stretched = std::min(std::floor(base * rope.factor), 1e12);
  return std::max(max_position_embeddings, static_cast<int64_t>(stretched));
}

}  // namespace vernier
