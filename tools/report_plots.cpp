// The charts of a report as pictures, drawn by gnuplot in a process of its own.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "tools/report_html.h"

extern char** environ;

namespace vernier {
namespace {

// One drawn thing: rows of numbers and how gnuplot shows them.
struct Layer {
  std::string title;  // in the legend; "" for none
  std::string style;  // "using … with …"
  std::vector<std::vector<double>> rows;
};

struct Panel {
  std::string title, x, y;
  std::string settings;  // further gnuplot commands
  std::vector<Layer> layers;
};

struct Picture {
  std::string name, title;
  size_t columns = 1;
  int panel_width = 1100, panel_height = 640;
  std::vector<Panel> panels;
};

constexpr std::string_view kKey =
    "set key outside below horizontal Left reverse height 1.2 width 2\n";
// With some air, so that no marker lies on an axis.
const std::string kOpenKey =
    cat(kKey, "set autoscale fix\nset offsets graph 0.02, graph 0.02, graph 0.02, graph 0.02\n");

// A single-quoted gnuplot string: nothing in it is expanded.
std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "''";
    else
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + "'";
}

std::string look(size_t run, std::string_view more) {
  constexpr std::array<int, 8> kPoints = {7, 5, 13, 9, 11, 15, 6, 4};
  return cat(" lc rgb '", run_colour(run), "' pt ", kPoints[(run + 3 * (run / 8)) % kPoints.size()],
             " ", more);
}

// Value, low, high; without an interval all three are the value.
std::array<double, 3> bounds(const Estimate& estimate, double scale) {
  const bool open = std::isnan(estimate.low) || std::isnan(estimate.high);
  return {scale * estimate.value, scale * (open ? estimate.value : estimate.low),
          scale * (open ? estimate.value : estimate.high)};
}

Picture steps_picture(const Report& report, std::string name, std::string title, std::string y,
                      double scale, double TrainRow::*train, Estimate Checkpoint::*evaluation) {
  Panel panel{std::move(title), "RL step", std::move(y), kOpenKey, {}};
  for (size_t r = 0; r < report.runs.size(); ++r) {
    Layer training{"", cat("using 1:2 with lines lw 0.6", look(r, "dt 1")), {}};
    training.style.replace(training.style.find("'#"), 2, "'#A0");  // mostly transparent
    for (const TrainRow& row : report.runs[r].train)
      training.rows.push_back({static_cast<double>(row.step), scale * (row.*train)});
    panel.layers.push_back(std::move(training));
  }
  for (size_t r = 0; r < report.runs.size(); ++r) {
    Layer points{
        report.runs[r].name, cat("using 1:2:3:4 with yerrorlines", look(r, "lw 2 ps 1.1")), {}};
    for (const Checkpoint& row : report.runs[r].checkpoints) {
      const auto [value, low, high] = bounds(row.*evaluation, scale);
      points.rows.push_back({static_cast<double>(row.step), value, low, high});
    }
    panel.layers.push_back(std::move(points));
  }
  return {.name = std::move(name), .title = "", .panels = {std::move(panel)}};
}

Picture trade_off_picture(const Report& report) {
  Panel panel{"Accuracy against mean length (large: last evaluation, 95 % intervals)",
              "mean length [tokens]",
              "accuracy [%]",
              kOpenKey,
              {}};
  double longest = 0, lowest = 1;
  for (const Run& run : report.runs)
    for (const Checkpoint& row : run.checkpoints) {
      longest = std::max(longest, bounds(row.mean_length, 1)[2]);
      lowest = std::min(lowest, bounds(row.accuracy, 1)[1]);
    }
  Layer frontier{"frontier of all points", "using 1:2 with steps lc rgb '#59636e' lw 1.6 dt 2", {}};
  for (const CheckpointPlace& place : report.frontier) {
    const Checkpoint& row = report.runs[place.run].checkpoints[place.checkpoint];
    if (frontier.rows.empty()) frontier.rows.push_back({row.mean_length.value, 100 * lowest});
    frontier.rows.push_back({row.mean_length.value, 100 * row.accuracy.value});
  }
  if (!frontier.rows.empty()) frontier.rows.push_back({longest, frontier.rows.back()[1]});
  panel.layers.push_back(std::move(frontier));
  Layer start{"start policy", "using 1:2 with points pt 3 ps 2.4 lw 2 lc rgb '#1b1f24'", {}};
  for (size_t r = 0; r < report.runs.size(); ++r) {
    const Run& run = report.runs[r];
    if (run.checkpoints.empty()) continue;
    Layer path{"", cat("using 1:2 with linespoints", look(r, "lw 1.4 ps 0.7")), {}};
    for (const Checkpoint& row : run.checkpoints)
      path.rows.push_back({row.mean_length.value, 100 * row.accuracy.value});
    panel.layers.push_back(std::move(path));
    const Checkpoint& last = run.checkpoints.back();
    const auto [x, x_low, x_high] = bounds(last.mean_length, 1);
    const auto [y, y_low, y_high] = bounds(last.accuracy, 100);
    panel.layers.push_back({run.name,
                            cat("using 1:2:3:4:5:6 with xyerrorbars", look(r, "lw 1.6 ps 2.2")),
                            {{x, y, x_low, x_high, y_low, y_high}}});
    const Checkpoint& first = run.checkpoints.front();
    if (first.step == 0)
      start.rows.push_back({first.mean_length.value, 100 * first.accuracy.value});
  }
  panel.layers.push_back(std::move(start));
  return {.name = "accuracy_against_length", .title = "", .panels = {std::move(panel)}};
}

Panel split_panel(const Report& report, size_t place) {
  const Run& run = report.runs[place];
  Panel panel{run.name, "RL step", "length [tokens]", "set key off\n", {}};
  const std::string colour = cat(" lc rgb '", run_colour(place), "' ");
  Layer right{"", cat("using 1:2 with lines lw 1.8", colour), {}};
  Layer wrong{"", cat("using 1:2 with lines lw 1.4 dt 2", colour), {}};
  const std::vector<double> right_mean = running_column(report, run, &TrainRow::right_mean);
  const std::vector<double> wrong_mean = running_column(report, run, &TrainRow::wrong_mean);
  for (size_t i = 0; i < run.train.size(); ++i) {
    right.rows.push_back({static_cast<double>(run.train[i].step), right_mean[i]});
    wrong.rows.push_back({static_cast<double>(run.train[i].step), wrong_mean[i]});
  }
  Layer right_points{"", cat("using 1:2 with points pt 7 ps 1.1", colour), {}};
  Layer wrong_points{"", cat("using 1:2 with points pt 6 ps 1.1 lw 1.4", colour), {}};
  for (const Checkpoint& row : run.checkpoints) {
    right_points.rows.push_back({static_cast<double>(row.step), row.right_length});
    wrong_points.rows.push_back({static_cast<double>(row.step), row.wrong_length});
  }
  panel.layers = {std::move(wrong), std::move(right), std::move(wrong_points),
                  std::move(right_points)};
  return panel;
}

// The greatest defined second number of some panels: the top of an axis they share.
double highest(std::span<const Panel> panels) {
  double out = 0;
  for (const Panel& panel : panels)
    for (const Layer& layer : panel.layers)
      for (const std::vector<double>& row : layer.rows)
        if (row[1] > out) out = row[1];
  return out;
}

// Gives panels one scale from 0 on.
void share_scale(std::span<Panel> panels) {
  const double top = highest(panels);
  for (Panel& panel : panels)
    if (top > 0) panel.settings += cat("set yrange [0:", 1.05 * top, "]\n");
}

Picture split_picture(const Report& report) {
  Picture out{.name = "length_right_wrong",
              .title = cat("Length of right (solid, filled) and of wrong (dashed, open) answers, ",
                           "running over ", report.running_steps, " steps"),
              .columns = std::min<size_t>(3, report.runs.size()),
              .panel_width = 460,
              .panel_height = 330,
              .panels = {}};
  for (size_t r = 0; r < report.runs.size(); ++r) out.panels.push_back(split_panel(report, r));
  if (out.panels.size() == 1) out.panels[0].title = cat(out.panels[0].title, ": ", out.title);
  if (out.panels.size() == 1) out.panel_width = 900;
  share_scale(out.panels);
  return out;
}

Panel histogram_panel(const Run& run, const Answers& answers, const LengthHistogram& histogram,
                      double width, size_t colour) {
  const auto n = static_cast<double>(answers.rows.size());
  double sum = 0;
  for (const JudgedAnswer& answer : answers.rows) sum += static_cast<double>(answer.num_tokens);
  Panel panel{cat(run.name, ", step ", answers.step, ": mean ", fixed(sum / n, 1),
                  ", n = ", answers.rows.size()),
              "length [tokens]",
              "answers [%]",
              cat("set key off\nset style fill solid 1 noborder\nset boxwidth ", 0.92 * width,
                  "\nset xrange [0:", width * static_cast<double>(histogram.right.size()), "]\n"),
              {}};
  // Boxes are not stacked but drawn behind each other, the tallest first.
  Layer all{"", "using 1:2 with boxes lc rgb '#d5dae0'", {}};
  Layer judged{"", "using 1:2 with boxes lc rgb '#8d96a0'", {}};
  Layer right{"", cat("using 1:2 with boxes lc rgb '", run_colour(colour), "'"), {}};
  for (size_t bin = 0; bin < histogram.right.size(); ++bin) {
    const double x = (static_cast<double>(bin) + 0.5) * width;
    const auto share = [&](int64_t count) { return 100 * static_cast<double>(count) / n; };
    const double low = share(histogram.right[bin]), middle = low + share(histogram.wrong[bin]);
    right.rows.push_back({x, low});
    judged.rows.push_back({x, middle});
    all.rows.push_back({x, middle + share(histogram.unjudged[bin])});
  }
  panel.layers = {std::move(all), std::move(judged), std::move(right)};
  return panel;
}

Picture histogram_picture(const Report& report) {
  Picture out{
      .name = "length_histograms",
      .title = "Lengths at the first and the last evaluation (grey: wrong, light: unjudged)",
      .columns = 2,
      .panel_width = 620,
      .panel_height = 240,
      .panels = {}};
  for (size_t r = 0; r < report.runs.size(); ++r) {
    const Run& run = report.runs[r];
    if (run.first.rows.empty()) continue;
    out.panels.push_back(histogram_panel(run, run.first, run.first_histogram, report.bin_width, r));
    if (!run.last.rows.empty())
      out.panels.push_back(histogram_panel(run, run.last, run.last_histogram, report.bin_width, r));
    share_scale(std::span(out.panels).last(run.last.rows.empty() ? 1 : 2));
  }
  return out;
}

Layer curve_layer(const LengthCurve& curve, std::string_view style) {
  Layer out{cat(curve.label, " (n = ", curve.num_answers, ")"),
            cat("using 1:2:3:4 with yerrorlines ", style),
            {}};
  for (const LengthBin& bin : curve.bins) {
    const auto [value, low, high] = bounds(bin.accuracy, 100);
    out.rows.push_back({bin.center, value, low, high});
  }
  return out;
}

Picture start_picture(const Report& report) {
  constexpr std::array<std::string_view, 4> kBands = {
      "lc rgb '#c5a8e0' pt 7", "lc rgb '#9d72cc' pt 5", "lc rgb '#7a45b0' pt 13",
      "lc rgb '#a0527f' pt 9"};
  Picture out{.name = "start_policy",
              .title = "Start policy: accuracy by length (95 % intervals over prompts)",
              .columns = 2,
              .panel_width = 640,
              .panel_height = 460,
              .panels = {}};
  for (const StartPolicy& start : report.starts) {
    Panel left{cat(join(start.runs), " (", start.source, ")"),
               "length [tokens]",
               "accuracy [%]",
               std::string(kKey),
               {}};
    for (size_t i = 0; i < start.bands.size(); ++i)
      left.layers.push_back(curve_layer(start.bands[i], kBands[i % kBands.size()]));
    left.layers.push_back(curve_layer(start.pooled, "lc rgb '#1b1f24' pt 7 lw 2.4"));
    Panel right{cat("within a question (", start.within_source, ")"),
                "rank of the length in its question (-0.5 shortest, 0.5 longest)",
                "difference in accuracy [% points]",
                cat(kKey, "set xrange [-0.5:0.5]\n"),
                {}};
    right.layers.push_back(curve_layer(start.within, "lc rgb '#1b1f24' pt 7 lw 2"));
    out.panels.push_back(std::move(left));
    out.panels.push_back(std::move(right));
  }
  return out;
}

bool has_data(const Layer& layer) {
  return std::any_of(layer.rows.begin(), layer.rows.end(), [](const std::vector<double>& row) {
    return !std::isnan(row[0]) && !std::isnan(row[1]);
  });
}

std::string panel_commands(const Panel& panel, size_t& next_block) {
  std::string blocks, plots;
  for (const Layer& layer : panel.layers) {
    if (!has_data(layer)) continue;
    const std::string block = cat("$d", next_block++);
    blocks += cat(block, " << EOD\n");
    for (const std::vector<double>& row : layer.rows) {
      for (const double value : row) blocks += std::isnan(value) ? "NaN " : cat(value, " ");
      blocks += "\n";
    }
    blocks += "EOD\n";
    plots += cat(plots.empty() ? "plot " : ", \\\n  ", block, " ", layer.style,
                 layer.title.empty() ? " notitle" : cat(" title ", in_quotes(layer.title)));
  }
  if (plots.empty()) return "set multiplot next\n";
  return cat(blocks, "set autoscale\nset title ", in_quotes(panel.title), "\nset xlabel ",
             in_quotes(panel.x), "\nset ylabel ", in_quotes(panel.y), "\n", panel.settings, plots,
             "\n");
}

std::string script_of(const Picture& picture, const std::string& format, const std::string& file) {
  const size_t rows = (picture.panels.size() + picture.columns - 1) / picture.columns;
  const int width = picture.panel_width * static_cast<int>(picture.columns);
  const int height = picture.panel_height * static_cast<int>(rows) + 40;
  const bool several = picture.panels.size() > 1;
  std::string out = format == "png" ? "set terminal pngcairo noenhanced font 'Sans,11'"
                                    : "set terminal svg noenhanced font 'sans-serif,14'";
  out += cat(" size ", width, ",", height, " background rgb 'white'\nset output ", in_quotes(file),
             "\nset datafile missing 'NaN'\nset grid back lt 1 lc rgb '#dde2e7' lw 1\n"
             "set border 3 lc rgb '#59636e'\nset tics nomirror\n"
             "set multiplot layout ",
             rows, ",", picture.columns, " title ", in_quotes(several ? picture.title : ""), "\n");
  size_t next_block = 0;
  for (const Panel& panel : picture.panels) out += panel_commands(panel, next_block);
  return out + "unset multiplot\nunset output\n";
}

bool drawable(const Picture& picture) {
  return std::any_of(picture.panels.begin(), picture.panels.end(), [](const Panel& panel) {
    return std::any_of(panel.layers.begin(), panel.layers.end(), has_data);
  });
}

// A folder that goes with what is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "vernier-report-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      fail_run(name, ": cannot be made: ", std::strerror(errno));
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Runs gnuplot on a script and waits. No shell is involved. `--default-settings` keeps the reader's
// own start files out.
void run_gnuplot(const fs::path& script, const fs::path& messages) {
  const std::string script_text = script.string(), messages_text = messages.string();
  std::array<std::string, 3> words = {"gnuplot", "--default-settings", script_text};
  std::array<char*, 4> arguments = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages_text.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t child = -1;
  const int problem = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (problem == ENOENT)
    fail("gnuplot: is not on PATH; --png and --svg draw with it (Debian: apt-get install ",
         "gnuplot-nox)");
  if (problem != 0) fail_run("gnuplot: cannot be started: ", std::strerror(problem));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) fail_run("gnuplot: cannot be waited for: ", std::strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  fail_run(
      "gnuplot: failed (",
      WIFEXITED(status) ? cat("exit code ", WEXITSTATUS(status)) : cat("signal ", WTERMSIG(status)),
      "): ", read_file(messages));
}

}  // namespace

std::vector<std::string> write_pictures(const Report& report, const std::string& folder,
                                        const std::string& format) {
  ensure(format == "png" || format == "svg", "the format of a picture is png or svg");
  const std::vector<Picture> pictures = {
      trade_off_picture(report),
      steps_picture(report, "accuracy_over_steps", "Accuracy over steps (thin: training)",
                    "accuracy [%]", 100, &TrainRow::accuracy, &Checkpoint::accuracy),
      steps_picture(report, "length_over_steps", "Mean length over steps (thin: training)",
                    "mean length [tokens]", 1, &TrainRow::mean_length, &Checkpoint::mean_length),
      split_picture(report),
      histogram_picture(report),
      start_picture(report)};
  const TemporaryFolder work;
  std::vector<std::string> files;
  for (const Picture& picture : pictures) {
    if (!drawable(picture)) continue;
    const std::string name = cat(picture.name, ".", format);
    const fs::path drawn = work.path() / name;
    write_file(work.path() / "script.gp", script_of(picture, format, drawn.string()));
    run_gnuplot(work.path() / "script.gp", work.path() / "messages");
    write_file(fs::path(folder) / name, read_file(drawn));
    files.push_back(name);
  }
  return files;
}

}  // namespace vernier
