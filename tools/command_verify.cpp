// verify: verdicts on mathematical answers, line by line.
#include <cstdio>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "rewards/verify/math/math_verify.h"
#include "tools/commands.h"

namespace vernier {
namespace {

std::string text_of(const Json& row, const char* key, const std::string& where) {
  if (!row.is_object()) fail(where, ": a row is {\"gold\": \"...\", \"response\": \"...\"}");
  if (!row.contains(key)) fail(where, ": has no '", key, "'");
  if (!row[key].is_string())
    fail(where, ": ", key, ": ", dump_json(row[key]).substr(0, 60), " is not a text");
  return row[key].get<std::string>();
}

}  // namespace

void verify_command(const std::string& extract) {
  const Extract how = extract == "boxed" ? Extract::boxed : Extract::lenient;
  LineReader reader("-");
  std::string line;
  while (reader.next(line)) {
    const std::string where = reader.where();
    const Json row = parse_json(line, where);
    const std::string gold = text_of(row, "gold", where);
    const std::string response = text_of(row, "response", where);
    const MathVerdict verdict = verify_math(gold, response, how);
    const std::string out = dump_json({{"verdict", name_of(verdict.outcome)},
                                       {"extracted", verdict.extracted},
                                       {"reason", verdict.reason}}) +
                            "\n";
    std::fwrite(out.data(), 1, out.size(), stdout);
  }
}

}  // namespace vernier
