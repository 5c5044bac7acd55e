package pgdb

import "testing"

func TestOldEnough(t *testing.T) {
	for version, ok := range map[string]bool{"9.6.24": false, "13.14 (Debian 13.14-1)": false, "14.0": true, "15.18 (Debian)": true, "18beta1": true, "": true} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("%s: %v", version, err)
		}
	}
}
