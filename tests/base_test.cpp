// Configuration, JSON, files, random numbers, threads.
#include <doctest/doctest.h>

#include <atomic>
#include <set>

#include "core/base/config.h"
#include "core/base/pool.h"
#include "core/base/registry.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::usage_error;

struct Sample {
  int64_t count = 3;
  double rate = 0.5;
  std::string kind = "a", text = "x";
  bool on = false;
  std::vector<double> list = {1, 2};
  std::vector<std::string> names;

  void bind(Binder& root) {
    root.table("main", [&](Binder& b) {
      b.number("count", count, 1, 10, "items");
      b.number("rate", rate, 0.0, 1.0, "share");
      b.choice("kind", kind, {"alpha", "beta", "a"}, "kind");
      b.text("text", text, "text");
      b.flag("on", on, "switch");
      b.list("list", list, 0.0, 9.0, "numbers");
      b.table("inner", [&](Binder& c) { c.flag("deep", on, "switch"); });
    });
    root.tables("part", [&](Binder& b) {
      std::string type, name;
      b.text("type", type, "type");
      b.text("name", name, "name");
      b.number("count", count, 1, 10, "items");
      names.push_back(name.empty() ? type : name);
    });
  }
};

std::string problems(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return usage_error([&] {
    ConfigFile file = ConfigFile::parse(text, "file.toml", overrides);
    Sample sample;
    file.bind([&](Binder& root) { sample.bind(root); });
  });
}

TEST_CASE("every mistake of a file is shown at once, with place, key, found and allowed") {
  const std::string found = problems("[main]\ncount = 11\nkind = \"alhpa\"\nrat = 0.1\n");
  CHECK(found ==
        "file.toml:2:9: main.count: 11 is outside the allowed range, 1 to 10\n"
        "file.toml:3:8: main.kind: \"alhpa\" is not one of alpha, beta, a (did you mean alpha?)\n"
        "file.toml:4:1: main.rat: unknown key (did you mean rate?); known: count, rate, kind, "
        "text, on, "
        "list, inner");
}

TEST_CASE("types are checked, and nothing is clamped") {
  CHECK(problems("[main]\ncount = 1.5").find("1.5 is not an integer") != std::string::npos);
  CHECK(problems("[main]\nrate = \"x\"").find("\"x\" is not a number") != std::string::npos);
  CHECK(problems("[main]\nrate = nan").find("outside the allowed range") != std::string::npos);
  CHECK(problems("[main]\non = 1").find("1 is not true or false") != std::string::npos);
  CHECK(problems("[main]\nlist = [1, 10]").find("10 in the list") != std::string::npos);
  CHECK(problems("main = 3").find("3 is not a table") != std::string::npos);
  CHECK(problems("part = 3").find("write [[part]]") != std::string::npos);
  CHECK(problems("[main.inner]\ndeap = true").find("main.inner.deap: unknown key") !=
        std::string::npos);
  CHECK(problems("[other]\nx = 1").find("other: unknown key") != std::string::npos);
  CHECK(problems("[main\n").find("file.toml:1:") == 0);
  CHECK(problems("[main]\nrate = 1").empty());
}

TEST_CASE("overrides reach plain keys and named entries of lists") {
  ConfigFile file = ConfigFile::parse(
      "[[part]]\ntype = \"x\"\n[[part]]\ntype = \"x\"\nname = \"second\"\n", "file.toml",
      std::vector<std::string>{"main.count=7", "main.text=plain words", "part.second.count=9"});
  Sample sample;
  file.bind([&](Binder& root) { sample.bind(root); });
  CHECK(sample.text == "plain words");
  CHECK(sample.count == 9);  // read last
  CHECK(sample.names == std::vector<std::string>{"x", "second"});
  CHECK(problems("", {"main.count=77"}).find("--set: main.count: 77 is outside") == 0);
  CHECK(
      problems("", {"main.cuont=7"}).find("--set: main.cuont: unknown key (did you mean count?)") ==
      0);
  CHECK(problems("[[part]]\ntype = \"x\"", {"part.y.count=1"})
            .find("no entry of [[part]] is called y") != std::string::npos);
  CHECK(problems("", {"nonsense"}).find("expected section.key=value") != std::string::npos);
}

TEST_CASE("the effective configuration reads back to the same values") {
  ConfigFile file = ConfigFile::parse(
      "[main]\nrate = 0.1\ntext = \"a\\\"b\\n\\u0001\"\n[[part]]\ntype = \"x\"\n[[part]]\ntype = "
      "\"y\"\n",
      "f");
  Sample sample;
  file.bind([&](Binder& root) { sample.bind(root); });
  const std::string first = file.effective();
  ConfigFile again = ConfigFile::parse(first, "again");
  Sample copy;
  again.bind([&](Binder& root) { copy.bind(root); });
  CHECK(again.effective() == first);
  CHECK(copy.text == sample.text);
  CHECK(copy.rate == 0.1);
  CHECK(copy.names == std::vector<std::string>{"x", "y"});
}

TEST_CASE("later files replace keys of earlier ones, lists and typed tables as a whole") {
  testing::TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& text) {
    write_file(folder.path() / name, text);
    return (folder.path() / name).string();
  };
  const std::vector<std::string> paths = {
      write("job.toml",
            "[algo]\ntype = \"a\"\nold = 1.0\n[run]\nsteps = 1.0\nseed = 1.0\n"
            "[run.deep]\nx = 1.0\ny = 1.0\n[[part]]\ntype = \"p\"\n[[part]]\ntype = \"q\"\n"),
      write("preset.toml",
            "part = [{ type = \"r\" }]\nrun.seed = 2.0\nrun.deep = { y = 2.0 }\n"
            "[algo]\ntype = \"b\"\nnew = 2.0\n"),
      write("last.toml", "[run]\nseed = 3.0\n")};
  double steps = 0, seed = 0, x = 0, y = 0, young = 0;
  std::string type;
  std::vector<std::string> parts;
  const auto bind = [&](Binder& root) {
    root.table("algo", [&](Binder& b) {
      b.text("type", type, "");
      b.number("new", young, 0.0, 9.0, "");
    });
    root.table("run", [&](Binder& b) {
      b.number("steps", steps, 0.0, 9.0, "");
      b.number("seed", seed, 0.0, 9.0, "");
      b.table("deep", [&](Binder& deep) {
        deep.number("x", x, 0.0, 9.0, "");
        deep.number("y", y, 0.0, 9.0, "");
      });
    });
    root.tables("part", [&](Binder& b) { b.text("type", parts.emplace_back(), ""); });
  };
  ConfigFile file = ConfigFile::load(paths);
  file.bind(bind);
  CHECK(type == "b");
  CHECK(young == 2);
  CHECK(parts == std::vector<std::string>{"r"});
  CHECK(std::vector<double>{steps, seed, x, y} == std::vector<double>{1, 3, 1, 2});

  // Every mistake has its own file, in the order of the files; --set goes over all of them.
  write_file(paths[0], "[algo]\ntype = \"a\"\n[run]\nsteps = 10.0\nsed = 1.0\n");
  write_file(paths[2], "[run]\n\nseed = 10.0\n");
  const std::vector<std::string> overrides = {"run.deep.y=\"a\""};
  const std::string found = usage_error([&] { ConfigFile::load(paths, overrides).bind(bind); });
  CHECK(found == cat("--set: run.deep.y: \"a\" is not a number\n", paths[0],
                     ":4:9: run.steps: 10.0 is outside the allowed range, 0 to 9\n", paths[0],
                     ":5:1: run.sed: unknown key (did you mean seed?); known: steps, seed, deep\n",
                     paths[2], ":3:8: run.seed: 10.0 is outside the allowed range, 0 to 9"));
  write_file(paths[1], "[run\n");
  CHECK(usage_error([&] { ConfigFile::load(paths); }).find(cat(paths[1], ":1:")) == 0);
}

TEST_CASE("hostile TOML is refused") {
  CHECK(problems(std::string(2 << 20, '#')).find("larger than 1 MiB") != std::string::npos);
  std::string deep = "x = ";
  for (int i = 0; i < 100; ++i) deep += "[";
  CHECK(problems(deep).find("not TOML") != std::string::npos);
  CHECK(problems("x = \"\xff\"").find("not TOML") != std::string::npos);
}

TEST_CASE("JSON: duplicate keys, depth, NUL and garbage are refused with their place") {
  const auto found = [](const std::string& text) {
    return usage_error([&] { parse_json(text, "f:3"); });
  };
  CHECK(found("{\"a\":1,\"a\":2}").find("f:3: key 'a' stands twice") == 0);
  CHECK(found(std::string(100, '[') + std::string(100, ']')).find("nested deeper") !=
        std::string::npos);
  CHECK(found("{} x").find("f:3: not JSON") == 0);
  CHECK(found(std::string("{}\0x", 4)).find("byte 2 is 0") != std::string::npos);
  CHECK(found("\"\xff\"").find("not JSON") != std::string::npos);
  CHECK(found("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}").empty());
  CHECK(dump_json(Json{{"x", std::nan("")}}) == "{\"x\":null}");
}

TEST_CASE("lines: CRLF, blanks, a last line without newline, limits") {
  testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "x.jsonl";
  write_file(path, "{\"a\":1}\r\n\n  \n{\"a\":2}");
  LineReader reader(path.string());
  std::string line;
  REQUIRE(reader.next(line));
  CHECK(line == "{\"a\":1}");
  REQUIRE(reader.next(line));
  CHECK(line == "{\"a\":2}");
  CHECK(reader.where() == path.string() + ":4");
  CHECK(!reader.next(line));
  write_file(path, std::string((16 << 20) + 10, 'x') + "\n");
  LineReader too_long(path.string());
  CHECK(usage_error([&] { too_long.next(line); }).find("over 16 MiB") != std::string::npos);
  CHECK(usage_error([] { LineReader("/no/such/file"); }).find("cannot be opened") !=
        std::string::npos);
}

TEST_CASE("a torn last line is cut off before more is appended") {
  testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "m.jsonl";
  write_file(path, "one\ntwo\nthr");
  LineAppender(path).line("four");
  CHECK(read_file(path) == "one\ntwo\nfour\n");
  write_file(path, "torn");
  LineAppender(path).line("whole");
  CHECK(read_file(path) == "whole\n");
}

TEST_CASE("a durable file has its name only when it is committed") {
  testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "f";
  write_file(path, "old");
  { DurableFile(path).write("new"); }
  CHECK(read_file(path) == "old");
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a second process on a locked folder is refused") {
  testing::TemporaryFolder folder;
  const FolderLock lock(folder.path());
  CHECK(usage_error([&] { FolderLock second(folder.path()); }).find("another vernier process") !=
        std::string::npos);
}

TEST_CASE("Philox4x32-10 has the published values") {
  // Random123's known-answer file, philox4x32 with 10 rounds.
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random streams depend on their key alone") {
  const Rng a(1, Stream::sampling, 2, 3, 4);
  CHECK(a.bits(7) == Rng(1, Stream::sampling, 2, 3, 4).bits(7));
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 3; ++i) {
    seen.insert(Rng(1 + i, Stream::sampling, 2, 3, 4).bits(7));
    seen.insert(Rng(1, Stream::sampling, 3 + i, 3, 4).bits(7));
    seen.insert(Rng(1, Stream::sampling, 2, 4 + i, 4).bits(7));
    seen.insert(Rng(1, Stream::sampling, 2, 3, 5 + i).bits(7));
    seen.insert(a.bits(8 + i));
  }
  seen.insert(Rng(1, Stream::task, 2, 3, 4).bits(7));
  CHECK(seen.size() == 16);
  Rng walk(5, Stream::task);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) sum += walk.next_uniform();
  CHECK(sum / 100000 == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE("a permutation visits every place once, in another order each epoch") {
  for (const int64_t n : {1, 2, 5, 100, 1025}) {
    std::set<int64_t> seen;
    const Permutation order(3, 0, n);
    for (int64_t i = 0; i < n; ++i) seen.insert(order(i));
    CHECK(static_cast<int64_t>(seen.size()) == n);
    CHECK(*seen.begin() == 0);
    CHECK(*seen.rbegin() == n - 1);
  }
  int same = 0;
  for (int64_t i = 0; i < 1000; ++i)
    same += Permutation(3, 0, 1000)(i) == Permutation(3, 1, 1000)(i);
  CHECK(same < 20);
}

TEST_CASE("the pool runs every task once, passes exceptions on, and is usable after them") {
  Pool pool(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> ran(97);
    pool.run(97, [&](int64_t i) { ++ran[static_cast<size_t>(i)]; });
    for (const auto& count : ran) CHECK(count.load() == 1);
  }
  CHECK_THROWS_AS(pool.run(50,
                           [](int64_t i) {
                             if (i == 20) fail("stop");
                           }),
                  UsageError);
  std::atomic<int64_t> sum{0};
  pool.run(10, [&](int64_t i) { sum += i; });
  CHECK(sum.load() == 45);
}

TEST_CASE("UTF-8 is judged strictly") {
  CHECK(is_utf8("aé€😀"));
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF8"})
    CHECK(!is_utf8(bad));
  CHECK(to_valid_utf8("a\xFFz") == "a\xEF\xBF\xBDz");
  CHECK(whole_utf8_prefix("ab\xE2\x82") == 2);
  CHECK(whole_utf8_prefix("ab\xE2\x82\xAC") == 5);
}

}  // namespace
}  // namespace vernier
