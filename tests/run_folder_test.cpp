// The folder of a run: its rows, and its configuration against a newer one.
#include "trainer/run_folder.h"

#include <doctest/doctest.h>

#include "tests/testing.h"
#include "trainer/run_config.h"

namespace vernier {
namespace {

using testing::usage_error;

TEST_CASE("an evaluation that has its row is not done again") {
  testing::TemporaryFolder folder;
  const RunFolder run(folder.path());
  write_file(folder.path() / "metrics.jsonl",
             "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,\"pha");
  const Progress progress{.phase = "rl", .step = 2, .last_eval = 0, .nonfinite_in_a_row = 0};
  CHECK(run.last_evaluation(progress) == 2);
  CHECK(run.last_evaluation({.phase = "rl", .step = 1, .last_eval = 0, .nonfinite_in_a_row = 0}) ==
        0);
}

TEST_CASE("a key that a run is older than has its default there") {
  testing::TemporaryFolder folder;
  const RunFolder run(folder.path());
  const auto effective = [](const std::string& model) {
    ConfigFile file = ConfigFile::parse(
        "[data]\ntask = \"chain_sum\"\n[run]\nsteps = 1\n[[reward]]\ntype = \"accuracy\"\n"
        "[model.new]\ncharacters = \"01.\"\nend_token = \".\"\n" +
            model,
        "c");
    RunConfig::load(file);
    return file.effective();
  };
  std::string old = effective("");
  const std::string newer = "positions = \"rope\"\n";
  const size_t place = old.find(newer);
  REQUIRE(place != std::string::npos);
  old.erase(place, newer.size());
  write_file(folder.path() / "config.toml", old);
  run.compare_config(effective(""), true);
  CHECK(
      usage_error([&] { run.compare_config(effective("positions = \"alibi\""), true); })
          .find("[model.new] positions: is \"rope\", and the run goes on from its checkpoint; the "
                "configuration now says \"alibi\"") != std::string::npos);
  // What this version cannot read is compared as it stands.
  write_file(folder.path() / "config.toml", old.insert(place, "width = 3\n"));
  CHECK(usage_error([&] {
          run.compare_config(effective(""), true);
        }).find("[model.new] width: is 3, ") != std::string::npos);
}

TEST_CASE("rows after the loaded checkpoint move to metrics.dropped.jsonl") {
  testing::TemporaryFolder folder;
  RunFolder run(folder.path());
  write_file(folder.path() / "metrics.jsonl",
             "{\"step\":1,\"phase\":\"sft\"}\n{\"step\":0,\"phase\":\"eval\"}\n{\"step\":1,"
             "\"phase\":\"rl\"}\n"
             "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,"
             "\"phase\":\"rl\"}\n{\"st");
  run.open_metrics({.phase = "rl", .step = 2, .last_eval = 0, .nonfinite_in_a_row = 0});
  Metrics row;
  row.set("step", Json(9));
  run.write_metrics(row);
  CHECK(read_file(folder.path() / "metrics.jsonl") ==
        "{\"step\":1,\"phase\":\"sft\"}\n{\"step\":0,\"phase\":\"eval\"}\n{\"step\":1,\"phase\":"
        "\"rl\"}\n"
        "{\"step\":2,\"phase\":\"rl\"}\n{\"step\":9}\n");
  CHECK(read_file(folder.path() / "metrics.dropped.jsonl") ==
        "{\"step\":2,\"phase\":\"eval\"}\n{\"step\":3,\"phase\":\"rl\"}\n");
}

}  // namespace
}  // namespace vernier
