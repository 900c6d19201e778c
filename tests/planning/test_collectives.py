import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ns_jax.planning import hlo
from ns_jax.planning.collectives import (
    Collective,
    SliceTransfer,
    find_collectives,
    find_slice_transfers,
    hbm_bytes,
    network_bytes,
)
from ns_jax.planning.hardware import describe_topology

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


def compiled(fn, mesh, *args, out=None):
    """Text of a program of arguments (shape, axes of `mesh` of each dimension)."""

    def sharding(axes):
        return NamedSharding(mesh, P(*axes))

    args = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding(axes)) for shape, axes in args]
    jitted = jax.jit(fn) if out is None else jax.jit(fn, out_shardings=sharding(out))
    return jitted.trace(*args).lower().compile().as_text()


def kinds(text):
    return sorted((sent.kind, sent.bytes, sent.group_size, sent.times) for sent in find_collectives(text))


def test_all_reduce(mesh):
    (sent,) = find_collectives(compiled(lambda x: x.sum(0), mesh, ((32, 16), ("data",)), out=()))
    assert sent == Collective("all-reduce", 16 * 4, 4, 1, True, sent.op_name)
    assert "reduce_sum" in sent.op_name
    assert network_bytes(sent) == 2 * 3 / 4 * 64


def test_all_gather(mesh):
    text = compiled(lambda x: x * 2, mesh, ((32, 16), ("data",)), out=())
    (sent,) = find_collectives(text)
    assert (sent.kind, sent.bytes, sent.group_size) == ("all-gather", 32 * 16 * 4, 4)
    assert network_bytes(sent) == 3 / 4 * 32 * 16 * 4


def test_explicit_collectives(mesh):
    def fn(x):  # [8, 64] on each device
        x = lax.psum_scatter(x, "model", tiled=True)  # [4, 64]
        x = lax.all_to_all(x, "data", 1, 0, tiled=True)  # [16, 16]
        return lax.ppermute(x, "data", [(0, 1), (1, 2)])

    fn = jax.shard_map(fn, mesh=mesh, in_specs=P("data"), out_specs=P(("data", "model")), check_vma=False)
    text = compiled(fn, mesh, ((32, 64), ("data",)))
    assert kinds(text) == [
        ("all-to-all", 1024, 4, 1),
        ("collective-permute", 1024, 2, 1),
        ("reduce-scatter", 2048, 2, 1),
    ]
    by_kind = {sent.kind: network_bytes(sent) for sent in find_collectives(text)}
    assert by_kind == {"all-to-all": 768, "collective-permute": 1024, "reduce-scatter": 1024}


def sharded_layers(mesh, batch=32, width=64):
    """Gradients of 7 scanned layers, each gathered when it is needed."""
    rows = NamedSharding(mesh, P("data"))

    def loss(ws, x):
        def layer(x, w):
            return lax.with_sharding_constraint(jnp.tanh(x @ w), rows), None

        return (lax.scan(layer, x, ws)[0] ** 2).mean()

    args = ((7, width, width), (None, "data")), ((batch, width), ("data",))
    return compiled(jax.grad(loss), mesh, *args, out=(None, "data"))


def test_collectives_in_loops(mesh):
    """CPU has no reduce-scatter here: an all-reduce, of which each device keeps a slice."""
    assert kinds(sharded_layers(mesh)) == [("all-gather", 64 * 64 * 4, 4, 7)] * 2 + [("all-reduce", 64 * 64 * 4, 4, 7)]


def test_loops_in_loops(mesh):
    def fn(x, w):
        def inner(x, _):
            return lax.with_sharding_constraint(jnp.sin(x) @ w, NamedSharding(mesh, P(None, "data"))), None

        return lax.scan(lambda x, _: lax.scan(inner, x, length=3), x, length=5)[0]

    text = compiled(fn, mesh, ((32, 64), (None, "data")), ((64, 64), (None, "data")))
    assert {sent.times for sent in find_collectives(text)} == {15}


def test_loops_of_unknown_length(mesh):
    def fn(n, x):
        return lax.fori_loop(0, n.astype(int), lambda i, x: x + jnp.sin(x).sum(0, keepdims=True), x)

    text = compiled(fn, mesh, ((), ()), ((32, 64), ("data",)))
    (sent,) = find_collectives(text)
    assert (sent.times, sent.is_exact) == (1, False)


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("{}", 8),
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['a'=4,'b'=2] {'a'}", 4),
        ("mesh['a'=4,'b'=2] {'a','b'}", 8),
        ("mesh['a'=4,'b'=2] {'a':(1)2,'b'}", 4),
    ],
)
def test_groups(groups, size):
    text = f"""HloModule m, num_partitions=8

ENTRY %main (p: bf16[8,128]) -> bf16[8,128] {{
  %p = bf16[8,128]{{1,0:T(8,128)(2,1)S(1)}} parameter(0)
  ROOT %all-reduce = bf16[8,128]{{1,0:T(8,128)(2,1)}} all-reduce(%p), replica_groups={groups}, to_apply=%add
}}
"""
    assert find_collectives(text) == [Collective("all-reduce", 2048, size, 1, True, "")]
    assert hbm_bytes(text) == 2048  # the operand is on the chip


def test_asynchronous_collectives_count_once():
    """As TPU programs have them: a wrapped computation, and a start with its operand among the results."""
    text = """HloModule m, num_partitions=8

%wrapped (p: f32[16]) -> f32[2] {
  %p = f32[16]{0} parameter(0)
  ROOT %reduce-scatter = f32[2]{0} reduce-scatter(%p), replica_groups={}, dimensions={0}, to_apply=%add
}

ENTRY %main (p: f32[16]) -> (f32[128], f32[2]) {
  %p = f32[16]{0} parameter(0)
  %start = (f32[16]{0}, f32[128]{0}, u32[]{:S(2)}) all-gather-start(%p), replica_groups={}, dimensions={0}
  %done = f32[128]{0} all-gather-done(%start)
  %start.1 = ((f32[16]{0}), f32[2]{0}, u32[]) async-start(%p), calls=%wrapped
  %done.1 = f32[2]{0} async-done(%start.1), calls=%wrapped
  ROOT %tuple = (f32[128]{0}, f32[2]{0}) tuple(%done, %done.1)
}
"""
    assert kinds(text) == [("all-gather", 512, 8, 1), ("reduce-scatter", 64, 8, 1)]
    assert hbm_bytes(text) == (64 + 512) + (64 + 8)


def test_collectives_fused_with_computations_count_once():
    """Compilers for TPU spread an all-gather over a fusion that starts it, one that computes, and one that waits."""
    gather = (
        "all-gather({}), replica_groups=mesh['a'=8] {{'a'}}, dimensions={{0}}, "
        'backend_config={{"async_collective_fusion_config":{{"flag_start":"2"}}}}'
    )
    text = f"""HloModule m, num_partitions=8

%first (p.1: f32[16]) -> (f32[16], f32[128], u32[]) {{
  %p.1 = f32[16]{{0}} parameter(0)
  %gather.1 = f32[128]{{0}} {gather.format("%p.1")}
  ROOT %start = (f32[16]{{0}}, f32[128]{{0}}, u32[]{{:S(2)}}) custom-call(%gather.1), custom_call_target="AsyncCollectiveStart"
}}

%second (p.2: f32[16], q.2: f32[128], r.2: f32[64]) -> (f32[64], f32[16], f32[128]) {{
  %p.2 = f32[16]{{0}} parameter(0)
  %q.2 = f32[128]{{0}} parameter(1)
  %r.2 = f32[64]{{0}} parameter(2)
  %gather.2 = f32[128]{{0}} {gather.format("%p.2")}
  %sine = f32[64]{{0}} sine(%r.2)
  ROOT %tuple.2 = (f32[64]{{0}}, f32[16]{{0}}, f32[128]{{0}}) tuple(%sine, %p.2, %gather.2)
}}

%third (p.3: f32[16], q.3: f32[128]) -> f32[128] {{
  %p.3 = f32[16]{{0}} parameter(0)
  %q.3 = f32[128]{{0}} parameter(1)
  %gather.3 = f32[128]{{0}} {gather.format("%p.3")}
  ROOT %done = f32[128]{{0}} custom-call(%p.3, %q.3, %gather.3), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (p: f32[16], r: f32[64]) -> f32[128] {{
  %p = f32[16]{{0}} parameter(0)
  %r = f32[64]{{0}} parameter(1)
  %a = (f32[16]{{0}}, f32[128]{{0}}, u32[]{{:S(2)}}) fusion(%p), kind=kCustom, output_to_operand_aliasing={{{{0}}: (0, {{}})}}, calls=%first
  %a.0 = f32[16]{{0}} get-tuple-element(%a), index=0
  %a.1 = f32[128]{{0}} get-tuple-element(%a), index=1
  %b = (f32[64]{{0}}, f32[16]{{0}}, f32[128]{{0}}) fusion(%a.0, %a.1, %r), kind=kOutput, output_to_operand_aliasing={{{{1}}: (0, {{}}), {{2}}: (1, {{}})}}, calls=%second
  %b.1 = f32[16]{{0}} get-tuple-element(%b), index=1
  %b.2 = f32[128]{{0}} get-tuple-element(%b), index=2
  ROOT %c = f32[128]{{0}} fusion(%b.1, %b.2), kind=kCustom, output_to_operand_aliasing={{{{}}: (1, {{}})}}, calls=%third
}}
"""  # noqa: E501
    assert kinds(text) == [("all-gather", 512, 8, 1)]
    assert hbm_bytes(text) == (64 + 512) + 2 * 256


def test_sizes():
    assert hlo.array_bytes("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}") == 2048
    assert hlo.array_bytes("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}", hbm_only=True) == 0
    assert hlo.array_bytes("(pred[3], (s4[3]{0}, f8e4m3fn[2]), c64[], u32[]{:S(2)}, token[])") == 3 + 2 + 2 + 8 + 4
    assert hlo.arrays("(f32[2]{0}, (bf16[]))") == ["f32[2]{0}", "bf16[]"]


@pytest.mark.parametrize(
    ("shape", "elements"),
    [
        ("f32[8,128]{1,0:T(8,128)}", 8 * 128),
        ("f32[9,100]{1,0:T(8,128)}", 16 * 128),
        ("f32[9,100]{0,1:T(8,128)}", 104 * 128),  # columns are next to each other
        ("f32[2,3,9,100]{3,2,1,0:T(8,128)}", 2 * 3 * 16 * 128),
        ("f32[2,3,9,100]{3,0,2,1:T(8,128)}", 8 * 3 * 9 * 128),
        ("f32[100]{0:T(128)}", 128),
        ("f32[]{:T(128)}", 128),
        ("f32[9,100]{1,0}", 900),
    ],
)
def test_tiles(shape, elements):
    assert hlo.array_bytes(shape, padded=True) == 4 * elements
    assert hlo.array_bytes(shape.replace("f32", "bf16").replace(")}", ")(2,1)}"), padded=True) == 2 * elements


def test_padding_is_memory_traffic():
    text = """HloModule m

ENTRY %main (p: f32[9,100]) -> f32[9,100] {
  %p = f32[9,100]{1,0:T(8,128)} parameter(0)
  ROOT %sine = f32[9,100]{1,0:T(8,128)} sine(%p)
}
"""
    assert hbm_bytes(text) == 2 * 16 * 128 * 4 and hbm_bytes(text, padded=False) == 2 * 900 * 4


def test_transfers_between_slices():
    """As programs of several slices have them: what all devices of a slice have added up goes to the host."""
    runtime = 'is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}'
    text = f"""HloModule m, num_partitions=8

ENTRY %main (p: f32[16]) -> f32[16] {{
  %p = f32[16]{{0}} parameter(0)
  %sum = f32[16]{{0}} all-reduce(%p), replica_groups={{{{0,1,2,3}},{{4,5,6,7}}}}, to_apply=%add
  %token = token[] after-all()
  %send = (f32[16]{{0}}, u32[], token[]) send(%sum, %token), channel_id=3, {runtime}
  %recv = (f32[16]{{0}}, u32[], token[]) recv(%token), channel_id=2, {runtime}
  %sent = token[] send-done(%send), channel_id=3, {runtime}
  %received = (f32[16]{{0}}, token[]) recv-done(%recv), channel_id=2, {runtime}
  ROOT %other = f32[16]{{0}} get-tuple-element(%received), index=0
}}
"""
    assert find_slice_transfers(text) == [SliceTransfer(64, 1)]
    assert kinds(text) == [("all-reduce", 64, 4, 1)]
    assert hbm_bytes(text) == 2 * 64 + 64 + 64  # the sum, what is sent, what arrives


def test_memory_traffic(mesh):
    text = compiled(lambda x, y: jnp.sin(x) * y + 1, mesh, ((32, 64), ("data",)), ((32, 64), ("data",)))
    assert hbm_bytes(text) == 3 * 8 * 64 * 4

    def layers(ws, x):
        return lax.scan(lambda x, w: (x + jnp.sin(w), None), x, ws)[0]

    # Each step reads one of the 100 layers, not all, and the sum, which it writes.
    steps = 100 * 3 * 64 * 64 * 4
    assert steps <= hbm_bytes(compiled(layers, mesh, ((100, 64, 64), ()), ((64, 64), ()))) < 1.1 * steps


@needs_libtpu
def test_tpu_programs():
    mesh = Mesh(np.array(describe_topology("v5e:2x2").devices), ("data",))
    text = sharded_layers(mesh, batch=512, width=512)
    size = 512 * 512 * 4
    # TPUs multiply float32 as bfloat16, which is what they gather.
    assert kinds(text) == [("all-gather", size // 2, 4, 7)] * 2 + [("reduce-scatter", size, 4, 7)]
    assert all(sent.is_exact for sent in find_collectives(text))
    assert hbm_bytes(text) >= 2 * 7 * size / 4  # a device's part of the layers, and their gradients
