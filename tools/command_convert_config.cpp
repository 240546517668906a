// convert-config: a configuration of TRL or verl as one of Vernier's.
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/peer_config.h"
#include "tools/peer_tree.h"

namespace vernier {

void convert_config_command(const ConvertConfigOptions& options) {
  const PeerConfig found =
      convert_peer_config(read_file(options.file), options.file, options.overrides,
                          {.from = options.from, .ranks = options.ranks, .rows = options.rows});
  std::string text =
      cat("# From the configuration ", one_line(options.file), " of ", found.from, ".\n");
  if (!found.left_out.empty()) text += "#\n# Not carried over:\n";
  for (const std::string& line : found.left_out) text += cat("#   ", line, '\n');
  if (!found.unknown.empty()) text += "#\n# Not known:\n";
  for (const std::string& key : found.unknown) text += cat("#   ", key, '\n');
  Output output(options.out);
  output.write(cat(text, '\n', found.toml));
  output.commit();
  log::info(cat(options.file, ": ", found.left_out.size(), " keys have no counterpart, ",
                found.unknown.size(), " are not known",
                found.unknown.empty() ? std::string() : cat(": ", join(found.unknown))));
}

}  // namespace vernier
