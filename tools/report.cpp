#include "tools/report.h"

#include <cstdio>
#include <filesystem>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "tools/output.h"
#include "tools/report_html.h"

namespace vernier {
namespace {

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail_run("standard output: cannot be written");
}

void make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) fail_run(folder.string(), ": cannot be made: ", problem.message());
}

void write_pictures_to(const Report& report, const std::string& folder, const std::string& format) {
  make_folder(folder);
  const std::vector<std::string> files = write_pictures(report, folder, format);
  log::info(cat("wrote ", files.size(), " charts to ", folder, ": ", join(files)));
}

// Runs, and those in folders of runs; what is neither stays, for make_report() to name.
std::vector<std::string> runs_of(const std::vector<std::string>& folders) {
  std::vector<std::string> out;
  for (const std::string& folder : folders) {
    const std::vector<std::string> inside = find_runs({folder});
    if (inside.empty()) out.push_back(folder);
    out.insert(out.end(), inside.begin(), inside.end());
  }
  return out;
}

}  // namespace

void write_report(const ReportOptions& options) {
  if (options.out.empty() && options.png.empty() && options.svg.empty() && options.csv.empty() &&
      !options.text && !options.json)
    fail("report: nothing to write; give --out, --png, --svg, --csv, --text or --json");
  if (options.out == "-" && (options.text || options.json))
    fail("report: --out - writes to standard output, and so does ",
         options.text ? "--text" : "--json");
  if (options.text && options.json)
    fail("report: --text and --json both write to standard output; give one of them");
  const Report report = make_report(runs_of(options.runs));
  if (!options.csv.empty()) {
    make_folder(options.csv);
    const std::vector<DataTable> tables = report_tables(report);
    for (const DataTable& table : tables)
      write_file(fs::path(options.csv) / (table.name + ".csv"), csv_text(table));
    log::info(cat("wrote ", tables.size(), " tables to ", options.csv));
  }
  if (!options.png.empty()) write_pictures_to(report, options.png, "png");
  if (!options.svg.empty()) write_pictures_to(report, options.svg, "svg");
  if (!options.out.empty()) {
    if (const fs::path parent = fs::path(options.out).parent_path(); !parent.empty())
      make_folder(parent);
    Output output(options.out);
    output.write(report_page(report));
    output.commit();
    log::info(cat("wrote ", options.out));
  }
  if (options.text) print(report_text(report));
  if (options.json) print(cat(dump_json(report_json(report)), "\n"));
  if (!options.text && !options.json)
    for (const std::string& note : report.notes) log::warn(note);
}

}  // namespace vernier
