#pragma once

#include "ddpm/data/image_folder_files.h"
#include "ddpm/data/image_set.h"

namespace ddpm {

/// Loads a folder of PNG and JPEG files (image_folder_files.h), decoded by as many threads as there
/// are processors.
///
/// Each image is fitted to a square of config.image_size by config.fit and config.filter. Channels:
/// config.channels, or for 0 what the files' headers say: 1 if all of them are grey, else 3. A file
/// that can't be decoded is fatal, or with DamagedPolicy::kSkip left out and named in `skipped`.
/// config.split and config.held_out_fraction choose files (select_split), of which
/// config.max_images takes the first, sorted by path.
///
/// A set above config.cache_above_mib goes through a packed cache (packed_cache.h) in
/// config.cache_dir, named for the folder and the options. It is made again when a file's name,
/// size or time of change differs.
///
/// @throws std::invalid_argument as list_image_folder, or if config.image_size is 0 or no file is
///         on the side of config.split.
/// @throws std::runtime_error naming the first damaged file, if every file is damaged, or if the
///         cache can't be written or does not fit on the disk.
ImageSet load_image_folder(const DataConfig& config);

}  // namespace ddpm
