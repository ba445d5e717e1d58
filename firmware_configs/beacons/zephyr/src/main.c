/* An iBeacon: four adverts a second and nothing else. The id below goes into the store's registry. */
#include <zephyr/bluetooth/bluetooth.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/reboot.h>

/* Draw your own: python -c "import uuid; print(uuid.uuid4())" */
#define UUID                                                                                       \
	0x7b, 0x0c, 0x1a, 0x52, 0x6f, 0x0e, 0x4d, 0x7c, 0x9a, 0x55, 0x0d, 0x6f, 0x3c, 0x1e, 0x8a, 0x21
#define MAJOR 0x00, 0x01      /* one a store */
#define MINOR 0x00, 0x04      /* one a beacon */
#define MEASURED_AT_1_M 0xc3  /* -61 dBm, measured in the store */
#define APPLE 0x4c, 0x00
#define IBEACON 0x02, 0x15

/* Units of 0.625 ms. Some jitter is added by the controller, so that neighbours do not collide for ever. */
#define INTERVAL_MIN 400 /* 250 ms */
#define INTERVAL_MAX 416 /* 260 ms */

static const struct bt_data advert[] = {
	BT_DATA_BYTES(BT_DATA_FLAGS, BT_LE_AD_NO_BREDR),
	BT_DATA_BYTES(BT_DATA_MANUFACTURER_DATA, APPLE, IBEACON, UUID, MAJOR, MINOR, MEASURED_AT_1_M),
};

int main(void)
{
	/* The address stays the same: the registry tells clones of an id apart by how many radios send it. */
	const struct bt_le_adv_param *how =
		BT_LE_ADV_PARAM(BT_LE_ADV_OPT_USE_IDENTITY, INTERVAL_MIN, INTERVAL_MAX, NULL);

	if (bt_enable(NULL) != 0 || bt_le_adv_start(how, advert, ARRAY_SIZE(advert), NULL, 0) != 0) {
		k_sleep(K_SECONDS(1));
		sys_reboot(SYS_REBOOT_COLD);
	}
	return 0; /* the controller goes on by itself */
}
