package listener

import (
	"strconv"
	"strings"
	"time"
)

// preferences are what a caller would like (RFC 7240), as far as it is known
// here. What is not understood, or not offered, is left alone.
type preferences struct {
	async bool          // respond-async
	wait  time.Duration // wait=N; negative where it is not there
}

// maxWait bounds `wait`, so that no number overflows.
const maxWait = 24 * time.Hour

func parsePrefer(headers []string) preferences {
	p := preferences{wait: -1}
	for _, h := range headers {
		for one := range strings.SplitSeq(h, ",") {
			one, _, _ = strings.Cut(one, ";") // parameters mean nothing here
			name, value, _ := strings.Cut(one, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.async = p.async || value == ""
			case "wait":
				n, err := strconv.ParseUint(value, 10, 31)
				if err == nil && p.wait < 0 { // the first one counts
					p.wait = min(time.Duration(n)*time.Second, maxWait)
				}
			}
		}
	}
	return p
}
