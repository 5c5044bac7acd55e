package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// grace is how long before a kill a call may have been answered and still be
// repeated: its result is committed within this time.
const grace = time.Second

// effects lists the paths that one message of a process must have called.
var effects = map[string][]string{
	"steps": {"first/", "left/", "right/", "right2/", "refused/", "finally/", "last/"},
	"early": {"early1/", "early2/"}, "parent": {"parent/", "child/", "posted/"}, "approval": {"ask/", "approved/", "released/"},
	"once": {"once/"}, "deferred": {"deferred/"}, "brittle": {"sound/", "brittle/"},
	"changing": {"added/"},
}

func (c *campaign) check(kills int) {
	c.t.Helper()
	lost := c.lost()
	doubled := c.doubled()
	late, repeats := c.repeats()
	dropped := c.dropped()
	misordered := c.misordered()
	live := c.live()
	acked := 0
	for _, path := range slices.Sorted(maps.Keys(c.acked)) {
		acked += len(c.acked[path])
		if len(c.acked[path]) == 0 {
			c.t.Errorf("no message was acknowledged on /%s", path)
		}
	}
	for what, list := range map[string][]string{"lost effects": lost, "doubled effects": doubled, "repeats without a kill": late, "dropped cancellations": dropped, "calls out of order": misordered, "executions that do not end": live} {
		if len(list) > 0 {
			c.t.Errorf("got %d %s, for example %s, want len(list) 0", len(list), what, strings.Join(list[:min(5, len(list))], "; "))
		}
	}
	if bound := kills * 64; repeats > bound {
		c.t.Errorf("%d calls were repeated after kills, promise 3 allows %d", repeats, bound)
	}
	eio, full := 0, 0
	if c.disk != nil {
		eio, full = c.disk.eio, c.disk.full
	}
	c.t.Logf("%d kills, %d failed writes or flushes (EIO), %d times a full disk, %d acknowledged, %d executions, %d answers, %d cancelled: %d lost, %d doubled, %d out of order, %d repeated without a kill, %d cancellations dropped, %d live; %d repeated by kills",
		len(c.kills), eio, full, acked, c.executions(), c.dest.answers(), len(c.cancelled), len(lost), len(doubled), len(misordered), len(late), len(dropped), len(live), repeats)
}

// executions returns the number of executions that the program lists.
func (c *campaign) executions() (n int) {
	for cursor := ""; ; {
		var page struct {
			Executions []json.RawMessage `json:"executions"`
			Next       string            `json:"next_cursor"`
		}
		status, body := c.admin("GET", "/api/v1/executions?limit=500&cursor="+url.QueryEscape(cursor), "")
		if err := json.Unmarshal(body, &page); err != nil || status != http.StatusOK {
			c.t.Errorf("list executions: got %d %v: %s", status, err, body)
			return n
		}
		n += len(page.Executions)
		if cursor = page.Next; cursor == "" {
			return n
		}
	}
}

// misordered returns the calls of the process ordered that began before an
// earlier message of their key had been answered. Its sender sends one message
// after the other.
func (c *campaign) misordered() (list []string) {
	c.dest.mu.Lock()
	defer c.dest.mu.Unlock()
	type call struct {
		id int
		answered
	}
	byKey := map[string][]call{}
	for path, keys := range c.dest.calls {
		key, id, ok := strings.Cut(strings.TrimPrefix(path, "/ordered/"), "/")
		if n, err := strconv.Atoi(id); ok && err == nil && strings.HasPrefix(path, "/ordered/") {
			for _, all := range keys {
				byKey[key] = append(byKey[key], call{n, all[0]})
			}
		}
	}
	for key, calls := range byKey {
		slices.SortFunc(calls, func(a, b call) int { return a.id - b.id })
		for i := 1; i < len(calls); i++ {
			if a, b := calls[i-1], calls[i]; b.begin.Before(a.sent) {
				list = append(list, fmt.Sprintf("%d of key %s began %v before %d was answered", b.id, key, a.sent.Sub(b.begin), a.id))
			}
		}
	}
	return list
}

// lost returns the effects of acknowledged messages that did not happen.
func (c *campaign) lost() (lost []string) {
	want := func(path string) {
		if c.dest.keys(path) == 0 {
			lost = append(lost, path)
		}
	}
	for process, paths := range effects {
		for _, id := range c.acked[process] {
			for _, p := range paths {
				want("/" + p + id)
			}
		}
	}
	for _, id := range c.acked["steps"] {
		for line := range 4 {
			want(fmt.Sprintf("/line/%s-%d", id, line))
		}
		if odd(id) {
			want("/caught/" + id)
		}
	}
	for _, id := range c.acked["ordered"] {
		want("/ordered/" + keyOf(id) + "/" + id)
	}
	for n := range c.acked["counter"] {
		want("/count/" + strconv.Itoa(n+1))
	}
	return append(append(lost, c.lostNewest()...), c.lostReplies()...)
}

// lostNewest returns the keys whose newest acknowledged message had no effect,
// although no newer one replaced it.
func (c *campaign) lostNewest() (lost []string) {
	newest := map[string]int{} // by key
	for _, id := range c.acked["newest"] {
		n, _ := strconv.Atoi(id)
		newest[keyOf(id)] = max(newest[keyOf(id)], n)
	}
	for key, n := range newest {
		if got := c.dest.newest("/newest/" + key + "/"); got < n {
			lost = append(lost, fmt.Sprintf("/newest/%s/%d, the newest is %d", key, n, got))
		}
	}
	return lost
}

// lostReplies returns the deferred replies that cannot be collected.
func (c *campaign) lostReplies() (lost []string) {
	for id, location := range c.locations {
		resp, err := c.client.Get("http://" + c.atom.listen + location)
		if err != nil {
			c.t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), `"id":"`+id+`"`) {
			lost = append(lost, fmt.Sprintf("reply of %s: %d %s", id, resp.StatusCode, body))
		}
	}
	return lost
}

// doubled returns the effects that happened under more than one idempotency key.
func (c *campaign) doubled() (doubled []string) {
	c.dest.mu.Lock()
	defer c.dest.mu.Unlock()
	doubled = append(doubled, c.dest.unsigned...)
	for path, keys := range c.dest.calls {
		want := 1
		if strings.HasPrefix(path, "/round/") {
			want = 2 // one for each round
		}
		if len(keys) > want {
			doubled = append(doubled, fmt.Sprintf("%s under %d keys", path, len(keys)))
		}
	}
	return doubled
}

// repeats counts the calls that were made again after a complete answer. Late
// ones had been answered longer than grace before the kill that repeated them,
// or there was no kill.
func (c *campaign) repeats() (late []string, byKills int) {
	c.dest.mu.Lock()
	defer c.dest.mu.Unlock()
	for path, keys := range c.dest.calls {
		for _, all := range keys {
			for i := 1; i < len(all); i++ {
				before, again := all[i-1], all[i].begin
				if c.killedBetween(before, again) {
					byKills++
					continue
				}
				late = append(late, fmt.Sprintf("%s, answered after %v, again %v later, %s", path, before.end.Sub(before.begin), again.Sub(before.end), c.lastKill(before.end)))
			}
		}
	}
	return late, byKills
}

// transit is how long after a kill a call of the killed program may arrive.
const transit = 100 * time.Millisecond

// killedBetween reports whether a kill explains that an answered call was made
// again.
func (c *campaign) killedBetween(before answered, again time.Time) bool {
	return slices.ContainsFunc(c.kills, func(k kill) bool {
		return before.begin.Before(k.to.Add(transit)) && k.from.Before(again) && k.since.Sub(before.end) < grace
	})
}

// lastKill describes the kills around a time.
func (c *campaign) lastKill(t time.Time) string {
	out := "no kill before"
	for _, k := range c.kills {
		if k.from.After(t) {
			return fmt.Sprintf("%s, %v before a kill", out, k.from.Sub(t))
		}
		out = fmt.Sprintf("%v after a kill", t.Sub(k.to))
	}
	return out
}

// underway is how long after the acknowledgement of a cancellation a call may
// arrive that was under way.
const underway = 250 * time.Millisecond

// dropped returns the executions whose acknowledged cancellation had no effect,
// and those whose finally did not run.
func (c *campaign) dropped() (dropped []string) {
	for id, x := range c.cancelled {
		status, body := c.admin("GET", "/api/v1/executions/"+x.execution, "")
		var v struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(body, &v); err != nil || status != 200 {
			dropped = append(dropped, fmt.Sprintf("%s: %d %s", x.execution, status, body))
			continue
		}
		if v.Status != "cancelled" {
			dropped = append(dropped, fmt.Sprintf("cancelled execution of %s ended %s: %s", id, v.Status, body))
		}
		if c.dest.keys("/begun/"+id) > 0 && c.dest.keys("/cleanup/"+id) == 0 {
			dropped = append(dropped, fmt.Sprintf("finally of %s did not run: %s", id, body))
		}
		for _, path := range []string{"/middle/", "/after/"} {
			if late := c.dest.last(path + id).Sub(x.at); late > underway {
				dropped = append(dropped, fmt.Sprintf("cancelled execution of %s made %s %v later: %s", id, path, late, body))
			}
		}
	}
	return dropped
}
