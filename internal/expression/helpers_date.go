package expression

import (
	"strings"
	"time"
	_ "time/tzdata" // so that zones mean the same on every machine

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// stamp is how dates are written: RFC 3339 in UTC with milliseconds, so that
// dates compare as text.
const stamp = "2006-01-02T15:04:05.000Z"

// dateHelpers compute with dates, which are RFC 3339 text. Layouts are Go's,
// which show the date 2006-01-02 15:04:05. Zones are written out, so that they
// are looked up once, while compiling.
var dateHelpers = []*Helper{
	{Name: "now", Usage: "now()", Doc: "The time of the last durable event on this path, in UTC with milliseconds.", result: TypeText, impure: true, call: now},
	{Name: "date", Usage: "date(value[, layout[, zone]])", Doc: "A date in UTC with milliseconds, read from text in RFC 3339 or the layout, or from the seconds since 1970. Text without a zone is in the given one, or UTC.", args: "v?tt", result: TypeText, prepare: zoneAt(2), call: date},
	{Name: "formatDate", Usage: "formatDate(date, layout[, zone])", Doc: "A date in a layout such as \"02.01.2006 15:04\", in the zone or else its own.", args: "vt?t", result: TypeText, prepare: zoneAt(2), call: formatDate},
	{Name: "addDuration", Usage: `addDuration(date, "36h")`, Doc: "A date that much later, or earlier with a minus: w d h m s ms, as in \"1d12h\".", args: "vt", result: TypeText, call: addDuration},
	{Name: "addMonths", Usage: "addMonths(date, n)", Doc: "The same day so many months later, or the last day of a shorter month.", args: "vn", result: TypeText, call: addMonths},
	{Name: "dateDiff", Usage: "dateDiff(later, earlier[, unit])", Doc: "How much later, in seconds, or in days, hours, minutes or milliseconds.", args: "vv?t", result: TypeNumber, call: dateDiff},
	{Name: "unix", Usage: "unix(date)", Doc: "The seconds since 1970.", args: "v", result: TypeNumber, call: unix},
}

func now(c *call) (any, error) {
	if c.m.env.Now.IsZero() {
		return nil, c.fail("now() cannot be used here")
	}
	return c.m.env.Now.UTC().Format(stamp), c.making(len(stamp))
}

// zoneAt looks up the zone that is written out as an argument.
func zoneAt(i int) func(c *compiler, args []*node) any {
	return func(c *compiler, args []*node) any {
		if len(args) <= i || args[i].typ == TypeNull {
			return nil
		}
		name, ok := args[i].value.(string)
		if !args[i].fixed || !ok {
			c.problem(args[i].site.pos, CodeValue, `write it out, such as "Europe/Berlin"`, "a zone cannot be computed")
			return nil
		}
		if zone := loadZone(name); zone != nil {
			return zone
		}
		c.problem(args[i].site.pos, CodeValue, `write a name of the IANA time zone database, such as "Europe/Berlin"`, "there is no zone %q", name)
		return nil
	}
}

// loadZone refuses the zone of the machine, which is another on each.
func loadZone(name string) *time.Location {
	if name == "" || strings.EqualFold(name, "local") {
		return nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	return zone
}

func (c *call) zone() *time.Location {
	zone, _ := c.made.(*time.Location)
	return zone
}

// layouts that a date is read in when none is given.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", "20060102",
	time.RFC1123Z, time.RFC1123, time.RFC850, time.ANSIC,
}

// when reads a date argument.
func (c *call) when(i int, zone *time.Location) (time.Time, error) {
	if zone == nil {
		zone = time.UTC
	}
	switch v := c.args[i].(type) {
	case string:
		if len(v) > 64 {
			break
		}
		for _, layout := range layouts {
			if t, err := time.ParseInLocation(layout, v, zone); err == nil {
				return c.bounded(t)
			}
		}
	case document.Number:
		n, err := exact.Parse(string(v))
		if err != nil {
			return time.Time{}, err
		}
		millis, err := exact.Mul(n, exact.Int(1000))
		if err != nil {
			return time.Time{}, err
		}
		if millis, err = exact.Round(millis, 0, exact.Down); err != nil {
			return time.Time{}, err
		}
		if ms, ok := millis.Int64(); ok && ms < 1<<53 && ms > -1<<53 {
			return c.bounded(time.UnixMilli(ms).UTC())
		}
	}
	return time.Time{}, c.fail("argument %d is not a date such as 2026-01-31 or 2026-01-31T09:30:00Z; date(text, layout) reads other forms", i+1)
}

// bounded refuses years that RFC 3339 cannot write.
func (c *call) bounded(t time.Time) (time.Time, error) {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return t, c.fail("the date is beyond the years 0 to 9999")
	}
	return t, c.making(len(stamp))
}

func (c *call) layout(i int) (string, error) {
	layout := c.text(i)
	if len(layout) > 256 {
		return "", c.fail("the layout is longer than 256 bytes")
	}
	a := time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
	b := time.Date(1998, 12, 31, 7, 48, 39, 0, time.FixedZone("X", 3600))
	if a.Format(layout) == b.Format(layout) {
		return "", c.fail("the layout shows no part of a date: write it as 2006-01-02 15:04:05 would look")
	}
	return layout, nil
}

func date(c *call) (any, error) {
	t, err := time.Time{}, error(nil)
	if c.has(1) {
		layout, err := c.layout(1)
		if err != nil {
			return nil, err
		}
		zone := c.zone()
		if zone == nil {
			zone = time.UTC
		}
		text, ok := c.args[0].(string)
		if !ok {
			return nil, c.site.notA(TypeText, c.args[0])
		}
		if t, err = time.ParseInLocation(layout, text, zone); err != nil {
			return nil, c.fail("the text is not a date in that layout")
		}
		if t, err = c.bounded(t); err != nil {
			return nil, err
		}
	} else if t, err = c.when(0, c.zone()); err != nil {
		return nil, err
	}
	return t.UTC().Format(stamp), nil
}

func formatDate(c *call) (any, error) {
	t, err := c.when(0, nil)
	if err != nil {
		return nil, err
	}
	layout, err := c.layout(1)
	if err != nil {
		return nil, err
	}
	if zone := c.zone(); zone != nil {
		t = t.In(zone)
	}
	return t.Format(layout), c.making(2 * len(layout))
}

// duration reads text such as 36h, -1d12h or 1w.
func duration(s string) (time.Duration, bool) {
	rest, negative := strings.CutPrefix(s, "-")
	var total time.Duration
	for rest != "" {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		unit := n
		for unit < len(rest) && (rest[unit] < '0' || rest[unit] > '9') {
			unit++
		}
		each, ok := map[string]time.Duration{
			"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
		}[rest[n:unit]]
		if !ok || n == 0 || n > 9 {
			return 0, false
		}
		var count int64
		for _, d := range []byte(rest[:n]) {
			count = count*10 + int64(d-'0')
		}
		if count > int64((1<<63-1-total)/each) {
			return 0, false
		}
		total += time.Duration(count) * each
		rest = rest[unit:]
	}
	if negative {
		total = -total
	}
	return total, s != "" && s != "-"
}

func addDuration(c *call) (any, error) {
	t, err := c.when(0, nil)
	if err != nil {
		return nil, err
	}
	d, ok := duration(c.text(1))
	if !ok {
		return nil, c.fail(`the duration must be written like "36h", "-1d12h" or "2w"`)
	}
	if t, err = c.bounded(t.Add(d)); err != nil {
		return nil, err
	}
	return t.UTC().Format(stamp), nil
}

func addMonths(c *call) (any, error) {
	t, err := c.when(0, nil)
	if err != nil {
		return nil, err
	}
	n, err := c.integer(1)
	if err != nil {
		return nil, err
	}
	if n > 12*10_000 || n < -12*10_000 {
		return nil, c.fail("the date is beyond the years 0 to 9999")
	}
	moved := t.AddDate(0, n, 0)
	if moved.Day() != t.Day() {
		moved = moved.AddDate(0, 0, -moved.Day())
	}
	if moved, err = c.bounded(moved); err != nil {
		return nil, err
	}
	return moved.UTC().Format(stamp), nil
}

func dateDiff(c *call) (any, error) {
	a, err := c.when(0, nil)
	if err != nil {
		return nil, err
	}
	b, err := c.when(1, nil)
	if err != nil {
		return nil, err
	}
	unit := c.text(2)
	if unit == "" {
		unit = "seconds"
	}
	millis, ok := map[string]int64{
		"milliseconds": 1, "seconds": 1000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000,
	}[unit]
	if !ok {
		return nil, c.fail("the unit must be days, hours, minutes, seconds or milliseconds")
	}
	n, err := exact.Div(exact.Int(a.UnixMilli()-b.UnixMilli()), exact.Int(millis))
	return n.Text(), err
}

func unix(c *call) (any, error) {
	t, err := c.when(0, nil)
	if err != nil {
		return nil, err
	}
	n, err := exact.Div(exact.Int(t.UnixMilli()), exact.Int(1000))
	return n.Text(), err
}
