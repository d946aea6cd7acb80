#include "ddpm/training/metrics_writer.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <limits>

#include "ddpm/data/image_codec.h"
#include "ddpm/training/append_file.h"
#include "ddpm/training/event_file.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::lines_of;
using testing::read_text;
using testing::RunFolder;
using Lines = std::vector<std::string>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Lines events_as_tensorboard_reads_them(const std::filesystem::path& folder) {
  const std::filesystem::path out = folder / "read.txt";
  const std::string command = std::string(DDPM_SOURCE_DIR "/.venv/bin/python ") +
                              DDPM_SOURCE_DIR "/tests/training/read_events.py '" +
                              (folder / "tensorboard").string() + "' > '" + out.string() + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
  return lines_of(out);
}

void append_raw(const std::filesystem::path& path, const std::string& text) {
  AppendFile(path.string(), /*truncate=*/false).append(text);
}

TEST(Crc32cTest, HasThePublishedValues) {
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283u);  // the catalogue's check value
  const std::string zeros(32, '\0');               // RFC 3720, B.4
  EXPECT_EQ(crc32c(zeros.data(), zeros.size()), 0x8a9136aau);
}

TEST(AppendFileTest, AFullDiskIsNamed) {
  AppendFile file("/dev/full", /*truncate=*/false);
  try {
    file.append("row\n");
    FAIL() << "a full disk took a row";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("'/dev/full': No space left"), std::string::npos)
        << error.what();
  }
}

TEST(MetricsWriterTest, WritesOneRowThreeTimes) {
  const RunFolder folder;
  MetricsWriter writer(folder.path().string(), /*resumed_step=*/0);
  writer.write(50, {{"loss", 0.25}, {"loss_q1", kNone}, {"lr", 0.0002}});
  writer.write(100, {{"loss", 1.0 / 3}, {"loss_q1", 2}, {"lr", 1e-7}});
  EXPECT_EQ(lines_of(folder / "metrics.jsonl"),
            (Lines{R"({"step": 50, "loss": 0.25, "loss_q1": null, "lr": 2e-04})",
                   R"({"step": 100, "loss": 0.3333333333333333, "loss_q1": 2, "lr": 1e-07})"}));
  EXPECT_EQ(lines_of(folder / "metrics.csv"),
            (Lines{"step,loss,loss_q1,lr", "50,0.25,,2e-04", "100,0.3333333333333333,2,1e-07"}));
}

TEST(MetricsWriterTest, OtherColumnsAreRefused) {
  const RunFolder folder;
  MetricsWriter writer(folder.path().string(), /*resumed_step=*/0);
  writer.write(1, {{"loss", 1}});
  EXPECT_THROW(writer.write(2, {{"lr", 1}}), std::invalid_argument);
  EXPECT_EQ(lines_of(folder / "metrics.csv"), (Lines{"step,loss", "1,1"}));
}

TEST(MetricsWriterTest, TensorBoardReadsNumbersAndPicturesOnceAfterAResume) {
  const RunFolder folder;
  const Image image = Image::filled(6, 4, 3, 200);
  const auto write = [&](MetricsWriter& writer, int64_t step, double loss) {
    writer.write(step, {{"loss", loss}, {"loss_q1", kNone}});
    writer.write_image(step, "samples", {6, 4, 3, encode_png(image)});
  };
  {
    MetricsWriter writer(folder.path().string(), /*resumed_step=*/0);
    write(writer, 10, 0.5);
    write(writer, 20, 0.25);
    write(writer, 30, 0.125);  // after the checkpoint of step 20: to be forgotten
  }
  MetricsWriter resumed(folder.path().string(), /*resumed_step=*/20);
  write(resumed, 30, 0.0625);
  EXPECT_EQ(events_as_tensorboard_reads_them(folder.path()),
            (Lines{"scalar loss 10 0.5", "scalar loss 20 0.25", "scalar loss 30 0.0625",
                   "image samples 10 6x4 (6, 4) RGB", "image samples 20 6x4 (6, 4) RGB",
                   "image samples 30 6x4 (6, 4) RGB"}));
}

TEST(MetricsWriterTest, AResumeCutsLaterRowsAndALineThatWasCutShort) {
  const RunFolder folder;
  {
    MetricsWriter writer(folder.path().string(), /*resumed_step=*/0);
    for (const int64_t step : {5, 10, 15}) writer.write(step, {{"loss", 1}});
  }
  append_raw(folder / "metrics.jsonl", R"({"step": 2)");
  append_raw(folder / "metrics.csv", "2");
  MetricsWriter resumed(folder.path().string(), /*resumed_step=*/10);
  resumed.write(15, {{"loss", 2}});
  EXPECT_EQ(lines_of(folder / "metrics.jsonl"),
            (Lines{R"({"step": 5, "loss": 1})", R"({"step": 10, "loss": 1})",
                   R"({"step": 15, "loss": 2})"}));
  EXPECT_EQ(lines_of(folder / "metrics.csv"), (Lines{"step,loss", "5,1", "10,1", "15,2"}));
}

TEST(MetricsWriterTest, ANewRunStartsEmpty) {
  const RunFolder folder;
  MetricsWriter(folder.path().string(), /*resumed_step=*/0).write(5, {{"loss", 1}});
  MetricsWriter(folder.path().string(), /*resumed_step=*/0).write(7, {{"other", 1}});
  EXPECT_EQ(lines_of(folder / "metrics.csv"), (Lines{"step,other", "7,1"}));
  EXPECT_EQ(lines_of(folder / "metrics.jsonl"), (Lines{R"({"step": 7, "other": 1})"}));
}

TEST(MetricsWriterTest, AFileThatHoldsNoMetricsIsNamedAndKept) {
  const RunFolder folder;
  append_raw(folder / "metrics.jsonl", "dear diary\n");
  try {
    MetricsWriter(folder.path().string(), /*resumed_step=*/5);
    FAIL() << "a diary was taken for metrics";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("metrics.jsonl' line 1"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(read_text(folder / "metrics.jsonl"), "dear diary\n");
}

}  // namespace
}  // namespace ddpm
