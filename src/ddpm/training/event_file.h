#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/training/append_file.h"

namespace ddpm {

/// CRC-32C (Castagnoli) as TFRecord, iSCSI and ext4 use it.
uint32_t crc32c(const void* data, size_t size);

/// A picture for TensorBoard: a PNG file's bytes, and the size it has.
struct EventPicture {
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 0;
  std::vector<uint8_t> png;
};

/// One TensorBoard event file: TFRecords of Event messages, each whole in the file once written.
class EventFile {
 public:
  /// Creates the file and writes the version record.
  /// @param resumed_step 0: a new run. Otherwise TensorBoard is told to forget the events of later
  ///        steps that earlier files of the folder hold.
  /// @throws std::runtime_error if the file can't be written.
  EventFile(const std::string& path, int64_t resumed_step);

  /// Numbers of one step, each under its tag, rounded to float32.
  /// @throws std::runtime_error if they can't be written.
  void write_scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);

  /// @throws std::runtime_error if it can't be written.
  void write_image(int64_t step, const std::string& tag, const EventPicture& picture);

 private:
  AppendFile file_;
};

}  // namespace ddpm
