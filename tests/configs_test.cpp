// The configurations of the tree.
#include <doctest/doctest.h>

#include "rewards/length_table.h"
#include "tests/testing.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

using testing::usage_error;

TEST_CASE("every configuration of the tree is without mistakes") {
  int64_t count = 0;
  const fs::path before = fs::current_path();
  fs::current_path(fs::path(VERNIER_CONFIGS).parent_path());  // paths in them are from there
  for (const auto& entry : fs::recursive_directory_iterator(VERNIER_CONFIGS)) {
    if (entry.path().extension() != ".toml") continue;
    const fs::path folder = entry.path().parent_path().filename();
    if (folder == "presets" || folder == "eval") continue;  // no jobs of their own
    CAPTURE(entry.path().string());
    ++count;
    if (folder == "lengths") {
      CHECK(usage_error([&] { LengthTable::read(entry.path().string()); }).empty());
      continue;
    }
    std::vector<std::string> paths = {entry.path().string()};
    if (folder == "baselines") {  // laid over a job
      const std::string name = entry.path().stem().string();
      paths.insert(paths.begin(), name.starts_with("no_")         ? "configs/papers/dot.toml"
                                  : name.starts_with("requested") ? "configs/papers/requested.toml"
                                                                  : "configs/papers/drpo.toml");
    }
    CHECK(usage_error([&] {
            ConfigFile file = ConfigFile::load(paths);
            RunConfig::load(file);
          }).empty());
  }
  fs::current_path(before);
  CHECK(count >= 80);
}

}  // namespace
}  // namespace vernier
