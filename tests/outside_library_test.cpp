// Rewards that are shared libraries.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/outside_cases.h"
#include "tests/socket_client.h"

namespace vernier {
namespace {

using testing::begins;
using testing::comes_true;
using testing::outside_group;
using testing::outside_reward;
using testing::scores_of;
using testing::usage_error;

std::string plugin(const std::string& name = "test_plugin") {
  return cat(VERNIER_TEST_PLUGINS, "/", name, ".so");
}

std::unique_ptr<Reward> library(const std::string& mode, const std::string& keys = "") {
  return outside_reward("library", cat("path = \"", plugin(), "\"\nconfig = { mode = \"", mode,
                                       "\", more = { list = [1, 2.5] } }\n", keys, "\n"));
}

TEST_CASE("a library scores, in a process of its own and in ours") {
  const Group group = outside_group({"a", "bb", "ccc"});
  for (const char* keys : {"", "hosted = false", "needs_group = true", "copies = 2"}) {
    CAPTURE(keys);
    const auto reward = library("", keys);
    for (size_t i = 0; i < 3; ++i) reward->expect(group, i);
    const std::vector<Score> scores = scores_of(*reward, group);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(scores[i].abstain == "");
      CHECK(scores[i].value == static_cast<double>(i + 1));
      CHECK(scores[i].components.at(0) == std::pair<std::string, double>("tokens", i + 2));
    }
  }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("a library that misbehaves abstains with its cause, and is started again where it died") {
  struct Case {
    const char *mode, *reason;
    bool in_ours;
  };
  for (const Case& one :
       {Case{"crash", "died: the program ended with ", false},
        Case{"abort", "died: the program ended with signal 6", false},
        Case{"loop", "timeout: no answer within call_s", false}, Case{"throw", "threw: ", true},
        Case{"nan", "nan: the score is not a finite number", true},
        Case{"unset", "nan: the score is not a finite number", true}, Case{"few", "count: ", true},
        Case{"none", "count: ", true}, Case{"components", "garbage: 1000 components", true},
        Case{"abstain", "aaaaa", true}, Case{"print", "", true}})
    for (const bool hosted : {true, false}) {
      if (!hosted && !one.in_ours) continue;
      CAPTURE(one.mode);
      CAPTURE(hosted);
      const auto reward = library(one.mode, hosted ? "deadline_s = 2" : "hosted = false");
      for (int64_t again = 0; again < 2; ++again) {
        const std::string why = scores_of(*reward, outside_group({"a"}, again))[0].abstain;
        CAPTURE(why);
        CHECK(begins(why, one.reason));
        CHECK(why.empty() == std::string(one.reason).empty());
      }
      if (begins(one.reason, "died")) CHECK(reward->counters()["restarts"] >= 1);
    }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("a library in our process that does not come back ends the run, by name") {
  const auto reward = library("loop", "hosted = false\ndeadline_s = 0.3");
  std::string said;
  try {
    scores_of(*reward, outside_group({"a"}));
  } catch (const RunError& problem) {
    said = problem.what();
  }
  CHECK(begins(said, "reward.r: timeout: no answer within 0.3 s; it runs in this process"));
}

TEST_CASE("a library in our process may be slow: waiting for one's turn is no call") {
  const auto reward = library("slow", "hosted = false\ndeadline_s = 0.5");
  const std::vector<Score> scores =
      scores_of(*reward, outside_group(std::vector<std::string>(10, "a")));
  CHECK(scores[0].value == 1);
  CHECK(begins(scores[9].abstain, "timeout: waited 0.5 s for its turn"));
  CHECK(reward->counters()["failed/timeout"] < 10);
}

TEST_CASE("a large step is asked about once") {
  const auto reward = library("", "hosted = false");
  constexpr int64_t kGroups = 3;
  std::vector<Group> groups;
  for (int64_t id = 0; id < kGroups; ++id)
    groups.push_back(outside_group(std::vector<std::string>(22'000, "a"), id));
  for (const Group& group : groups)
    for (size_t i = 0; i < group.responses.size(); ++i) reward->expect(group, i);
  for (const Group& group : groups)
    for (const Score& score : scores_of(*reward, group)) REQUIRE(score.value == 1);
  CHECK(reward->counters()["asked"] == kGroups * 22'000);
}

TEST_CASE("a library that does not fit is refused by its name") {
  for (const char* hosted : {"true", "false"}) {
    CAPTURE(hosted);
    const auto says = [&](const std::string& path, const std::string& keys = "") {
      return usage_error([&] {
        outside_reward("library", cat("path = \"", path, "\"\nhosted = ", hosted, "\n", keys));
      });
    };
    const auto has = [](const std::string& text, const std::string& part) {
      CAPTURE(text);
      CHECK(text.find(part) != std::string::npos);
    };
    has(says("nothing.so"), "reward.r.path: nothing.so: no such file");
    has(says(plugin("test_plugin_old")),
        "test_plugin_old.so: made for version 99 of rewards/plugin.h, this is version 1");
    has(says(plugin("test_plugin_lame")),
        "test_plugin_lame.so: has no function vernier_plugin_score");
    has(says(cat(VERNIER_TEST_CASES, "/outside/reward.py")),
        "reward.py: not a library that can be opened");
    has(says(plugin(), "config = { mode = \"refuse\" }"),
        "test_plugin.so: refuses its config: there is no mode refuse");
    has(says(plugin(), "config = 3"), "reward.r.config: 3 is not a table");
    has(says(""), "needs path");
    testing::TemporaryFolder folder;
    const std::string open = (folder.path() / "open.so").string();
    fs::copy_file(plugin(), open);
    REQUIRE(::chmod(open.c_str(), 0777) == 0);
    has(says(open), "open.so: everybody may write to it");
  }
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("a library that loads for too long is refused") {
  const std::string said = usage_error([] { library("load", "deadline_s = 0.4\nstart_s = 0.3"); });
  CAPTURE(said);
  CHECK(said.find("as it did not say within 0.3 s that it is ready") != std::string::npos);
  CHECK(comes_true([] { return testing::spawned().empty(); }));
}

TEST_CASE("the table of a library's configuration is part of the effective one") {
  ConfigFile file = ConfigFile::parse("config = { a = 1, b = { c = [\"x\", 2.5] } }\n", "t.toml");
  std::string json;
  file.bind([&](Binder& root) { root.any_table("config", json, "doc"); });
  CHECK(parse_json(json, "t") == parse_json(R"({"a":1,"b":{"c":["x",2.5]}})", "t"));
  ConfigFile again =
      ConfigFile::parse(file.effective().substr(file.effective().find("config")), "again.toml");
  std::string second;
  again.bind([&](Binder& root) { root.any_table("config", second, "doc"); });
  CHECK(parse_json(second, "t") == parse_json(json, "t"));
}

}  // namespace
}  // namespace vernier
