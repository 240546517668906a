// Tokens, cookies and queries of an HTTP server of ours.
#include "rollout/endpoint/access.h"

#include <doctest/doctest.h>

#include "core/base/files.h"
#include "tests/testing.h"

namespace vernier {
namespace {

TEST_CASE("access: a token is one line of visible characters, and nothing is like no token") {
  const testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "token").string();
  CHECK(read_token("").empty());
  write_file(path, "s3cret+/=\r\n");
  CHECK(read_token(path) == "s3cret+/=");
  for (const char* bad : {"", "\n", "two words\n", "caf\xc3\xa9\n"}) {
    write_file(path, bad);
    CHECK(testing::usage_error([&] { read_token(path); }).find("--token-file: ") == 0);
  }
  CHECK(same_secret("abc", "abc"));
  CHECK_FALSE(same_secret("abd", "abc"));
  CHECK_FALSE(same_secret("ab", "abc"));
  CHECK_FALSE(same_secret("abcd", "abc"));
  CHECK_FALSE(same_secret("", ""));
}

TEST_CASE("access: what headers and queries hold") {
  CHECK(bearer_token("Bearer x y").value() == "x y");
  CHECK(bearer_token("bEARER x").value() == "x");
  CHECK_FALSE(bearer_token("Basic x").has_value());
  CHECK_FALSE(bearer_token("").has_value());
  CHECK(cookie_value("a=1; name=x=y; b", "name").value() == "x=y");
  CHECK(cookie_value("b", "b").value().empty());
  CHECK_FALSE(cookie_value("myname=1", "name").has_value());
  CHECK(query_value("a=1&run=%2e%2E%2fx+y&b", "run").value() == "../x+y");
  CHECK(query_value("b", "b").value().empty());
  CHECK(query_value("%61=1", "a").value() == "1");
  for (const char* bad : {"run=%", "run=%4", "run=%zz"}) CHECK_FALSE(query_value(bad, "run"));
  CHECK_FALSE(query_value("", "run").has_value());
  CHECK(url_of("::1", 80) == "http://[::1]:80");
}

}  // namespace
}  // namespace vernier
