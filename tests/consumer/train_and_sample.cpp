// Trains two steps on drawn shapes, then opens the run and samples: what an embedding program does.
#include <cstdio>
#include <ddpm/data/shapes.h>
#include <ddpm/model/network.h>
#include <ddpm/pipeline/pipeline.h>
#include <ddpm/training/trainer.h>

int main(int argc, char** argv) {
  const char* run_folder = argc > 1 ? argv[1] : "run";
  ddpm::RunConfig config;
  config.model.unet2d.block_out_channels = {16, 32};
  config.model.unet2d.down_block_types = {ddpm::DownBlockType::kDown, ddpm::DownBlockType::kDown};
  config.model.unet2d.up_block_types = {ddpm::UpBlockType::kUp, ddpm::UpBlockType::kUp};
  config.model.unet2d.norm_num_groups = 8;
  config.diffusion.num_timesteps = 50;
  config.train.steps = 2;
  config.train.batch_size = 4;

  const ddpm::ImageSet images =
      ddpm::make_shapes(/*count=*/16, /*size=*/8, /*channels=*/3, /*seed=*/0);
  config.model =
      ddpm::resolve_model_config(config.model, /*channels=*/3, /*image_size=*/8, /*num_classes=*/0);
  const auto network = ddpm::make_network(config.model);
  ddpm::initialize(*network, config.train.seed);
  const ddpm::TrainResult result = ddpm::Trainer(config, network, images, run_folder).run();

  const ddpm::Pipeline pipeline = ddpm::load_pipeline(run_folder);
  const ddpm::Tensor samples =
      ddpm::sample_images(pipeline, {.steps = 5}, {.seed = 1, .num_images = 2});
  std::printf("trained %d steps, drew %d images\n", static_cast<int>(result.step),
              static_cast<int>(samples.size(0)));
  return result.step == 2 && samples.size(0) == 2 ? 0 : 1;
}
