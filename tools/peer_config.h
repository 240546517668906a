// Configurations of TRL and verl as Vernier's: what is carried over, what has no counterpart and
// why, and what is not known.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vernier {

struct PeerConfigOptions {
  std::string from = "auto";  // "trl", "verl", or by the keys
  int64_t ranks = 1;          // processes of the peer's job, where the file does not say
  int64_t rows = 0;           // of the training data, where the peer counts epochs; 0: not given
};

struct PeerConfig {
  std::string from;                   // "trl" or "verl"
  std::string toml;                   // with a comment on each thing that was not carried over
  std::vector<std::string> left_out;  // "key = value: why", each one line
  std::vector<std::string> unknown;   // keys that neither table has, each one line
};

/// Reads YAML (which JSON is too), nested or with dotted keys, and `overrides` of the form
/// "a.b.c=value" as verl's command line takes them. Defaults of the peer that differ from
/// Vernier's are written out. Throws UsageError where the text is not YAML, where a key comes
/// twice, where a value has the wrong type or a size is not one, and where it is not clear whose
/// configuration it is. `name` opens messages.
PeerConfig convert_peer_config(const std::string& text, const std::string& name,
                               const std::vector<std::string>& overrides,
                               const PeerConfigOptions& options);

}  // namespace vernier
