"""Home Assistant discovery: every entity names a value that the heartbeat has, and nothing about anybody."""

import json
import re

import msgspec

from contract.codec import decode_small, encode_small
from contract.messages import Health, SourceHealth, Status
from contract.topics import NodeAddress
from edge.home_assistant import discovery, state

NODE = NodeAddress("acme", "main-street", "door-1")
HEALTH = Health(
    at=1, boot="b", version="0.1", config="c", uptime_s=5.0, clock="trusted", adverts=9, adverts_per_s=1.5, windows=3,
    outbox_rows=2, outbox_oldest_s=0.5, dropped=0, reconnects=1, rss_mb=33.0, restarts=0,
    sources={"meraki": SourceHealth("down")},
)  # fmt: skip


def configs() -> dict[str, dict[str, object]]:
    return {topic: json.loads(payload) for topic, payload in discovery(NODE, "0.1.0")}


def test_topics_are_those_that_home_assistant_looks_at():
    topics = [topic for topic, _ in discovery(NODE, "0.1.0")]
    assert len(set(topics)) == len(topics) > 15
    for topic in topics:
        assert re.fullmatch(r"homeassistant/(binary_)?sensor/aisle_acme_door_1/[a-z_]+/config", topic)
    assert {topic.partition("/")[0] for topic, _ in discovery(NODE, "0.1.0", "ha")} == {"ha"}


def test_every_entity_belongs_to_one_device_and_has_a_name_of_its_own():
    found = list(configs().values())
    assert {json.dumps(config["device"]) for config in found} == {json.dumps(found[0]["device"])}
    assert len({config["unique_id"] for config in found}) == len({config["name"] for config in found}) == len(found)
    for config in found:
        assert config["state_topic"] == "aisle/v1/up/acme/main-street/door-1/health"
        assert config["availability_topic"] == "aisle/v1/status/acme/main-street/door-1"


def test_every_template_reads_a_field_that_the_heartbeat_has():
    fields = {field.name for field in msgspec.structs.fields(Health)}
    for config in configs().values():
        template = config["value_template"]
        assert isinstance(template, str)
        named = set(re.findall(r"value_json\.(\w+)", template))
        assert named and named <= fields, template


def test_availability_is_told_by_the_words_home_assistant_expects():
    for word in ("online", "offline"):
        payload = encode_small(Status(word, "b", 1))
        assert json.loads(payload)["state"] == word  # its defaults for payload_available and payload_not_available


def test_the_state_is_the_heartbeat():
    topic, payload = state(NODE, HEALTH)
    assert topic == NODE.up("health")
    assert decode_small(payload, Health) == HEALTH
