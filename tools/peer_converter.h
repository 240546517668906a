// What the converters of tools/peer_config.h share.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <string>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "tools/peer_config.h"
#include "tools/peer_tree.h"

namespace vernier {

// A key whose value means the same in both.
struct PeerKey {
  enum Kind { number, flag, text };
  const char* from;
  Kind kind;
  const char *section, *key;
};

// Keys without a counterpart, by their beginning, and why.
struct Reason {
  const char *prefix, *why;
};

inline constexpr const char* kOwnEngine = "Vernier draws with its own engine";
inline constexpr const char* kTrackers =
    "Vernier writes metrics.jsonl; tools/sidecar.py sends it to trackers";
inline constexpr const char* kLaunch = "the launcher's: torchrun, srun or mpirun";
inline constexpr const char* kHub = "no command needs the network";
inline constexpr const char* kNotBuilt = "not built";
inline constexpr const char* kNeverPads = "Vernier pads nothing";

// What the two converters share: the tree, the text in the making, and what is said of the rest.
class Converter {
 public:
  Converter(PeerTree& tree, const PeerConfigOptions& options) : tree_(tree), options_(options) {}

 protected:
  void copy(std::span<const PeerKey> copies) {
    for (const PeerKey& one : copies) {
      if (one.kind == PeerKey::number)
        if (const auto value = tree_.number(one.from)) toml_.number(one.section, one.key, *value);
      if (one.kind == PeerKey::flag)
        if (const auto value = tree_.flag(one.from)) toml_.flag(one.section, one.key, *value);
      if (one.kind == PeerKey::text)
        if (const auto value = tree_.text(one.from)) toml_.text(one.section, one.key, *value);
    }
  }

  // The peer's default stands in the file where it is not Vernier's.
  void number(const std::string& section, const std::string& key, const std::string& from,
              double peers_default) {
    toml_.number(section, key, tree_.number(from).value_or(peers_default));
  }

  void whole(const std::string& section, const std::string& key, const std::string& from,
             double peers_default) {
    toml_.number(section, key, tree_.whole(from).value_or(peers_default));
  }

  void leave_out(const std::string& key, const std::string& why) {
    out_.left_out.push_back(cat(one_line(key), " = ", in_short(tree_.written(key)), ": ", why));
  }

  // Says why the keys of `reasons` are not carried over, and lists what nobody knows.
  void account_for_rest(std::span<const Reason> reasons) {
    for (const std::string& key : tree_.keys()) {
      if (tree_.is_read(key)) continue;
      const auto reason = std::find_if(reasons.begin(), reasons.end(), [&](const Reason& one) {
        return key.starts_with(one.prefix);
      });
      if (reason == reasons.end())
        out_.unknown.push_back(one_line(key));
      else if (tree_.has(key))
        leave_out(key, reason->why);
    }
  }

  // A model hub's name, or a folder.
  void model(const std::string& key) {
    const std::string path = tree_.text(key).value_or("");
    if (path.empty()) return toml_.comment("model", "path = a folder with the model's files");
    toml_.text("model", "path", path);
    toml_.comment("model",
                  "a local folder or a GGUF file is wanted; of a hub's name, download it first");
  }

  // A file of rows; a data set of a hub has to become one first.
  void data(const char* key, std::string path, bool is_list_of_more) {
    if (is_list_of_more)
      toml_.comment("data",
                    cat(key, ": the first of several files; each can be a [[data.source]]"));
    if (!path.ends_with(".jsonl") && !path.ends_with(".json") && !path.ends_with(".parquet")) {
      toml_.comment("data", cat(key, " was ", in_short(path), ": its rows as a file are wanted"));
      path += ".jsonl";
    }
    toml_.text("data", key, path);
  }

  // Checkpoints that stay. Both peers keep all where that is not above 0.
  void checkpoints(const std::string& key) {
    const auto keep = tree_.whole(key, -1);
    if (keep && *keep > 0)
      toml_.number("run", "keep_checkpoints", *keep);
    else if (keep)
      leave_out(key, "all stay; run.keep_checkpoints has to be a number");
  }

  void steps(std::optional<double> steps, const std::string& epochs_key, double default_epochs,
             double prompts_per_step) {
    const double epochs = tree_.number(epochs_key).value_or(default_epochs);
    if (options_.rows > 0) epoch_ = static_cast<double>(options_.rows) / prompts_per_step;
    if (steps) {
      steps_ = steps;
    } else if (epochs <= 0) {
      fail(tree_.name(), ": ", epochs_key, ": ", tree_.written(epochs_key),
           " is not a number of epochs above 0");
    } else if (epoch_) {
      steps_ = std::ceil(epochs * *epoch_);
    }
    if (steps_) return toml_.number("run", "steps", *steps_);
    toml_.comment("run", cat("steps = ", toml_number(epochs), " epochs * rows / ",
                             toml_number(prompts_per_step),
                             "; give --rows to convert-config, or write it here"));
  }

  PeerTree& tree_;
  const PeerConfigOptions& options_;
  TomlText toml_;
  PeerConfig out_;
  std::optional<double> steps_, epoch_;  // of the run, and of an epoch, where they are known
};

PeerConfig convert_trl(PeerTree& tree, const PeerConfigOptions& options);
PeerConfig convert_verl(PeerTree& tree, const PeerConfigOptions& options);

}  // namespace vernier
