package dataplane

import (
	"strconv"
	"strings"
	"time"
)

// preferences are the supported values of the Prefer header (RFC 7240). Unknown
// preferences are ignored.
type preferences struct {
	respondAsync bool          // respond-async
	wait         time.Duration // wait=N; negative if absent
}

// maxWait limits `wait` to prevent overflow.
const maxWait = 24 * time.Hour

func parsePrefer(headers []string) preferences {
	p := preferences{wait: -1}
	for _, h := range headers {
		for one := range strings.SplitSeq(h, ",") {
			one, _, _ = strings.Cut(one, ";") // parameters are not supported
			name, value, _ := strings.Cut(one, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.respondAsync = p.respondAsync || value == ""
			case "wait":
				n, err := strconv.ParseUint(value, 10, 31)
				if err == nil && p.wait < 0 { // the first occurrence counts
					p.wait = min(time.Duration(n)*time.Second, maxWait)
				}
			}
		}
	}
	return p
}
