"""Configurations: fields, what a resume may change, components by name, and every file in configs/."""

import functools
import json
import re
import runpy

import command
import pytest

from ganjax import UserError, component, experiment
from ganjax import config as configs

ALONE = 'adain_style', 'adain_wikiart'  # without a discriminator
FILES = sorted(path.stem for path in (command.ROOT / 'configs').glob('[!_]*.py'))


def load(name):
  namespace = {}
  path = command.ROOT / f'configs/{name}.py'
  exec(compile(path.read_text(), path, 'exec'), namespace)
  return namespace['get_config'](), namespace['__doc__']


def saved(**changes):
  """What config.json holds of a base configuration, with changes {field: value} by dotted name."""
  config = configs.base('test')
  config.update_from_flattened_dict(changes)
  return config.to_dict()


def changed(**changes):
  config = configs.base('test')
  config.update_from_flattened_dict(changes)
  return config


@pytest.mark.parametrize('name', FILES)
def test_file_is_named_and_says_its_command(name):
  config, text = load(name)
  assert config.name == name
  assert f'python train.py --config configs/{name}.py' in text
  configs.check(config)


@pytest.mark.parametrize('name', FILES)
def test_fields_that_all_share(name):
  """A user may rely on these names in every configuration."""
  config, _ = load(name)
  # A number may be a ramp.
  fields = {k.removesuffix('.start') for k in configs.flatten(config.to_dict())}
  base = configs.flatten(configs.base('').to_dict()).keys()
  assert fields >= {k for k in base if not (name in ALONE and k.startswith('optim.D.'))}
  assert fields >= {
    *('steps', 'batch_size', 'seed', 'log_every_steps', 'sample_every_steps'),
    *('checkpoint_every_steps', 'data.dataset', 'data.data_dir', 'data.resolution'),
    *('networks.name', 'networks.width', 'method.name'),
    *(f'optim.{name}.{field}' for name in config.optim for field in ('lr', 'b1')),
  }
  assert 'G' in config.optim and ('D' in config.optim or name in ALONE)


@functools.cache
def built(name):
  return experiment.build(load(name)[0])


@functools.cache
def summary(name):
  """What --summary prints."""
  return experiment.summary(built(name))


@pytest.mark.parametrize('name', FILES)
def test_summary_describes_networks_phases_and_stages(name):
  text = summary(name)
  for net in built(name).method.nets:
    assert re.search(rf'^  {net} +[\d,]+ parameters   \[.*\] -> \[.*\]$', text, re.M)
  assert re.search(
    r'^stage 0: steps 0 to [\d,]+, (resolution \d+|\w+ \[.*\]), .* \w+s a step$', text, re.M
  )
  (nets,) = (', '.join(p.nets) for p in built(name).spans[-1].stage.phases if p.name == 'G')
  assert re.search(rf'^  G +trains {nets} with optimizer G, once a step$', text, re.M)


def test_summary_needs_neither_data_nor_workdir():
  nowhere = command.files() / 'nowhere'
  nothing = {'TFDS_DATA_DIR': nowhere, 'GANJAX_CACHE_DIR': nowhere}
  config = command.ROOT / 'configs/biggan_imagenet128.py'
  done = command.succeed('train.py', '--config', config, '--summary', env=nothing)
  assert not done.stderr and not nowhere.exists()
  assert done.stdout.strip() == summary('biggan_imagenet128').strip()


def dcgan_parameters(resolution, width, z_dim=100):
  """(G, D) by hand, from the shapes of the paper's figure 1 and this recipe's kernels (4 up, 5 down)."""
  area = (resolution // 16) ** 2
  first = (z_dim + 1) * area * 8 * width
  # A bias and batch norm's scale and offset in every layer but the last, which has the bias alone.
  norms = 2 * sum(f * width for f in (8, 4, 2, 1))
  up = sum(4 * 4 * i * width * o * width + o * width for i, o in ((8, 4), (4, 2), (2, 1)))
  G = first + norms + up + 4 * 4 * width * 3 + 3
  half = width // 2
  channels = [3, *(half * 2**i for i in range(4))]
  down = sum(5 * 5 * i * o + o for i, o in zip(channels, channels[1:]))
  D = down + 2 * sum(channels[2:]) + area * channels[-1] + 1
  return G, D


def parameters(name):
  found = re.findall(r'^  \w+ +([\d,]+) parameters', summary(name), re.M)
  return tuple(int(n.replace(',', '')) for n in found)


@pytest.mark.parametrize(
  'name, resolution, width',
  [('dcgan_cifar', 32, 128), ('dcgan_emoji', 64, 32), ('dcgan_celeba', 64, None)],
)
def test_parameter_counts_of_dcgan(name, resolution, width):
  method, networks = load(name)[0].method, load(name)[0].networks
  assert parameters(name) == dcgan_parameters(
    resolution, width or networks.width, z_dim=method.z_dim
  )


# Of the networks in their order. Published: StudioGAN's logs have 9.42 and 2.42 million for BigGAN on CIFAR-10,
# BigGAN-PyTorch's print 70,433,988 and 87,982,370 for ImageNet; torch-mimicry counts its SNGANs and cGAN-PD so, R3GAN's
# table 9 has 20.78 and 21.28 million; those of StyleGAN2-ADA's code and of pix2pix, CycleGAN, CUT, SRGAN, ESRGAN and
# progressive growing are counted from their definitions. The others hold what is here in place.
COUNTS = {
  'attngan_cub': (5_354_496, 110_848, 7_084_592, 97_596_678),
  'attngan_emoji': (549_120, 27_712, 348_656, 516_612),
  'dvdgan_emoji': (480_371, 76_505, 27_433),
  'gangogh_wikiart': (14_624_067, 4_431_247),
  'adain_style': (628_259,),
  'adain_wikiart': (3_505_219,),
  'acgan_cifar': (1_218_307, 1_055_115),
  'biggan_cifar': (9_416_196, 2_415_170),
  'biggan_diffaug_cifar': (9_416_196, 2_415_170),
  'biggan_imagenet128': (70_433_988, 87_982_370),
  'biggan_lecam_cifar': (9_416_196, 2_415_170),
  'cgan_mnist': (2_412_984, 1_224_101),
  'contragan_cifar': (9_416_196, 2_517_186),
  'digits': (102_657, 66_529),
  'emoji32': (205_027, 104_441),
  'emoji': (839_843, 1_913_581),
  'can_emoji': (1_104_547, 438_196),
  'text_emoji': (700_163, 243_156),
  'gan_cls_cub': (18_827_779, 3_950_401),
  'dfgan_cub': (10_874_627, 6_791_494),
  'dfgan_coco': (10_874_627, 6_791_494),
  'mocogan_actions': (3_282_432, 663_296, 11_187_968),
  'mocogan_emoji': (296_800, 42_944, 699_840),
  'mocogan_mnist': (3_247_616, 661_248, 11_048_704),
  'esrgan_div2k': (16_697_987, 14_499_401),
  'realesrgan_div2k': (16_697_987, 4_376_897),
  'realesrgan_compact_div2k': (1_213_296, 4_376_897),
  'fastgan_emoji': (3_338_820, 1_761_712),
  'cut_emoji': (1_965_059, 167_649, 140_928),
  'cut_horse2zebra': (11_378_179, 2_764_737, 560_384),
  'cyclegan_emoji': (1_965_059, 1_965_059, 167_649, 167_649),
  'cyclegan_horse2zebra': (11_378_179, 11_378_179, 2_764_737, 2_764_737),
  'dragan_cifar': (3_813_379, 5_860_865),
  'gan3d_folder': (17_570_113, 11_049_665),
  'gan3d_solids': (461_449, 53_817),
  'molgan_smiles': (355_057, 80_129, 80_129),
  'musegan_chorales': (123_628, 54_933),
  'musegan_folder': (2_578_127, 1_365_841),
  'gan_mnist': (2_503_984, 1_231_441),
  'lsgan_cifar': (3_022_147, 1_080_001),
  'projection_cifar': (4_304_387, 1_055_105),
  'pix2pix_emoji': (7_313_603, 169_185),
  'pix2pix_sketch': (1_544_387, 168_161),
  'pix2pix_facades': (54_413_955, 2_768_705),
  'vid2vid_emoji': (399_670, 43_121, 45_425, 45_425),
  'projected_cifar': (91_124_489, 10_331_328),
  'projected_emoji': (3_024_739, 653_616),
  'projected_folder': (79_354_307, 10_331_328),
  'r3gan_cifar': (20_781_952, 21_280_512),
  'reacgan_cifar': (9_416_196, 2_517_186),
  'progressive_celebahq': (23_079_115, 23_087_249),
  'progressive_cifar': (1_296_908, 1_298_689),
  'progressive_emoji': (851_519, 853_265),
  'sagan_imagenet128': (42_078_852, 39_463_618),
  'sngan_cifar': (4_276_739, 1_053_825),
  'sngan_cnn_cifar': (3_584_003, 5_860_865),
  'sngan_stl10': (4_878_083, 10_141_441),
  'srgan_div2k': (1_517_571, 14_499_401),
  'srgan_emoji': (232_963, 907_817),
  'stylegan_ffhq1024': (26_219_627, 23_087_249),
  'stylegan2_ada_cifar': (20_215_315, 20_988_416),
  'stylegan2_cifar': (21_523_475, 21_507_073),
  'stylegan2_emoji': (764_680, 878_993),
  'stylegan2_ffhq1024': (30_370_060, 29_012_513),
  'stylegan2_ffhq256': (24_767_458, 24_001_089),
  'specgan_notes': (183_169, 80_833),
  'wavegan_folder': (19_065_345, 17_427_969),
  'wavegan_notes': (183_169, 80_833),
  'stylegan3_emoji': (126_137, 878_993),
  'stylegan3r_ffhq256': (18_816_387, 28_864_129),
  'stylegan3t_ffhq256': (28_472_133, 28_864_129),
  'wgan_cifar': (3_584_003, 5_860_865),
  'wgan_gp_cifar': (4_276_739, 1_053_825),
  'wgan_gp_cnn_cifar': (3_584_003, 5_860_865),
  'wgan_gp_text': (475_872, 213_697),
}


@pytest.mark.parametrize('name', sorted({*FILES} - {'dcgan_cifar', 'dcgan_emoji', 'dcgan_celeba'}))
def test_parameter_counts(name):
  assert parameters(name) == COUNTS[name]


# What a resume may change.


@pytest.mark.parametrize('config', [configs.base('test'), load('dcgan_cifar')[0]])
def test_the_same_config_resumes_in_silence(config):
  assert configs.compare(config, config.to_dict()) == []


def test_an_argument_that_came_later_is_its_default():
  """So a run of before it goes on, where the configuration says the default; another value is another run."""
  config = runpy.run_path(str(command.ROOT / 'configs/biggan_cifar.py'))['get_config']()
  saved = json.loads(json.dumps(config.to_dict()))
  del saved['networks']['relu_skip']
  with pytest.raises(UserError, match=r'networks.relu_skip \(was False, now True\)'):
    configs.compare(config, saved)
  config.networks.relu_skip = False
  assert configs.compare(config, saved) == []


def test_a_config_compares_with_its_json(tmp_path):
  """JSON turns tuples into lists: that is no difference."""
  config = configs.base('test')
  assert configs.compare(config, json.loads(json.dumps(config.to_dict()))) == []


@pytest.mark.parametrize(
  'field, value',
  [
    ('log_every_steps', 7),
    ('sample_every_steps', 7),
    ('checkpoint_every_steps', 7),
    ('data.data_dir', '/elsewhere'),
    ('keep_checkpoints', 9),
    ('steps', 200_000),
  ],
)
def test_may_change(field, value):
  (line,) = configs.compare(changed(**{field: value}), saved())
  assert field in line and str(value) in line


@pytest.mark.parametrize(
  'field, value',
  [
    ('batch_size', 32),
    ('seed', 1),
    ('data.dataset', 'emoji'),
    ('data.resolution', 64),
    ('data.fraction', 0.5),
    ('data.seed', 1),
    ('data.flip', True),
    ('networks.name', 'resnet'),
    ('method.name', 'wgan'),
    ('optim.G.lr', 1e-3),
    ('optim.D.decay', 'linear'),
    ('ema.half_life_images', 10),
    ('name', 'other'),
  ],
)
def test_may_not_change(field, value):
  with pytest.raises(UserError, match=rf'another config: {field} \(was .*, now {value!r}\)'):
    configs.compare(changed(**{field: value}), saved())


def test_all_differences_are_named():
  with pytest.raises(UserError, match=r'batch_size \(was 64, now 8\), seed \(was 0, now 1\);'):
    configs.compare(changed(batch_size=8, seed=1, steps=5), saved())


def test_a_field_of_one_side_only_is_a_difference():
  old = saved()
  old['method']['gp_weight'] = 10.0
  with pytest.raises(UserError, match=r'method.gp_weight \(was 10.0, now None\)'):
    configs.compare(configs.base('test'), old)


def test_a_schedule_over_steps_is_said():
  linear = {'optim.G.decay': 'linear', 'steps': 7}
  lines = configs.compare(changed(**linear), saved(**{'optim.G.decay': 'linear'}))
  assert len(lines) == 2 and 'learning rates of G fall over `steps`' in lines[1]
  constant = configs.compare(changed(steps=7), saved())
  assert len(constant) == 1


# Components.


def build(name='dcgan', **arguments):
  return component.build('networks', dict(name=name, **arguments), resolution=32, channels=3)


def test_component_builds_what_the_name_says():
  nets = build(width=4)
  assert nets.keys() == {'G', 'D'}
  assert (nets['G'].width, nets['G'].resolution, nets['G'].channels) == (4, (32, 32), 3)


def test_component_lists_the_names_there_are():
  with pytest.raises(
    UserError, match=r"networks.name='dcgann' .*did you mean dcgan.*there are .*dcgan"
  ):
    build('dcgann')


def test_component_names_what_it_does_not_take():
  with pytest.raises(
    UserError, match=r"networks 'dcgan' does not take depth, levels: write a config"
  ):
    build(width=4, levels=2, depth=3)


def test_component_names_what_it_misses():
  with pytest.raises(UserError, match=r"methods 'gan' needs z_dim: write a config"):
    component.build('methods', dict(name='gan'), nets={})


def test_a_run_of_an_older_version_is_read_with_defaults(tmp_path):
  """A config.json of 0.1.0 has no `eval`."""
  saved = runpy.run_path(str(command.ROOT / 'configs/dcgan_cifar.py'))['get_config']().to_dict()
  del saved['eval'], saved['data']['cache']
  saved['ema'] = {'half_life_images': 7}
  (tmp_path / 'config.json').write_text(json.dumps({'config': saved}))
  config = experiment.load(tmp_path).config
  assert config.eval == configs.base('').eval and config.data.cache is True
  assert config.ema.to_dict() == {'half_life_images': 7, 'rampup': 0.0, 'start_steps': 0}
  assert config.networks.to_dict() == saved['networks'] and config.data.dataset == 'cifar10'


@pytest.mark.parametrize(
  ('field', 'value', 'line'),
  [
    ('every_steps', -1, 'config.eval.every_steps=-1 must be at least 0'),
    ('num', 1, 'config.eval.num=1 must be at least 2'),
    (
      'batch_norm',
      'standng',
      "config.eval.batch_norm='standng' is none of running, batch, standing",
    ),
  ],
)
def test_values_of_eval_are_checked(field, value, line):
  config = runpy.run_path(str(command.ROOT / 'configs/dcgan_cifar.py'))['get_config']()
  config.eval[field] = value
  with pytest.raises(UserError, match=re.escape(line)):
    configs.check(config)
