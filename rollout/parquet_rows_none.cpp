// Parquet in a build without Arrow.
#include "core/base/errors.h"
#include "rollout/parquet_rows.h"

namespace vernier {

bool reads_parquet() { return false; }

void parquet_rows(const std::string& path, const RowSink&) {
  fail(path, ": this build does not read Parquet; run tools/setup parquet and build again");
}

}  // namespace vernier
