// `vernier report`: curves and tables of length against accuracy, from run folders.
#pragma once

#include <string>
#include <vector>

namespace vernier {

/// What to read and what to write. An empty path asks for nothing.
struct ReportOptions {
  std::vector<std::string> runs;  // run folders, or folders of runs
  std::string out;                // the page, one HTML file that needs no network
  std::string png, svg, csv;      // folders, made where they are missing
  bool text = false;              // the summary on standard output
  bool json = false;              // one JSON object on standard output
};

/// Reads the run folders and writes what was asked for.
/// Throws UsageError for a folder that is not a run, a damaged row (with file and line), a run
/// named twice, or where nothing was asked for; RunError where an output cannot be written.
void write_report(const ReportOptions& options);

}  // namespace vernier
