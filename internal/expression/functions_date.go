package expression

import (
	"errors"
	"strings"
	"time"
	_ "time/tzdata" // embedded, so that zones do not depend on the machine

	"valence/internal/document"
	"valence/internal/expression/exact"
)

// stamp is the format of dates: RFC 3339 in UTC with milliseconds, so that
// dates compare as text.
const dateLayout = "2006-01-02T15:04:05.000Z"

// dateFunctions work with dates, which are RFC 3339 text. Layouts are Unicode
// patterns such as yyyy-MM-dd, or Go's: the reference date is 2006-01-02
// 15:04:05. Zones must be constant because they are looked up at compile time.
var dateFunctions = []*Function{
	{
		Name: "now", Usage: "now()",
		Doc:     "The time of the last durable event on this path, in UTC with milliseconds. It does not change when a step is repeated.",
		Example: `now()`,
		result:  TypeText, impure: true, call: now,
	},
	{
		Name: "date", Usage: "date(value[, layout[, zone]])",
		Doc:     "A date in UTC with milliseconds. The value is text in RFC 3339 or in the layout, or seconds since 1970. Text without a time zone is in the given zone, or UTC. Zone abbreviations are those of the given zone and of mail (RFC 5322); any other is an error.",
		Example: `date(1767225600)`,
		args:    "v?tt", result: TypeText, prepare: prepareDate, call: date,
	},
	{
		Name: "parseDate", Usage: "parseDate(text, layout[, zone])",
		Doc:     "The date that text in the [layout](#layouts-of-dates) stands for, in UTC with milliseconds. Text without a time zone is in the given zone, or UTC.",
		Example: `parseDate("31.01.2026 09:30", "dd.MM.yyyy HH:mm", "Europe/Berlin")`,
		args:    "tt?t", result: TypeText, prepare: prepareDate, call: date,
	},
	{
		Name: "formatDate", Usage: "formatDate(date, layout[, zone])",
		Doc:     "A date formatted with a [layout](#layouts-of-dates), in the given zone or else in its own.",
		Example: `formatDate(doc.created, "yyyy-MM-dd'T'HH:mm:ssXXX", "Europe/Berlin")`,
		args:    "vt?t", result: TypeText, prepare: prepareDate, call: formatDate,
	},
	{
		Name: "addDuration", Usage: `addDuration(date, "36h")`,
		Doc:     "A later date, or an earlier one if the duration is negative. Units: w d h m s ms.",
		Example: `addDuration("2026-01-31T09:30:00Z", "1d12h")`,
		args:    "vt", result: TypeText, call: addDuration,
	},
	{
		Name: "addMonths", Usage: "addMonths(date, n)",
		Doc:     "The same day n months later, or the last day of a shorter month.",
		Example: `addMonths("2026-01-31", 1)`,
		args:    "vn", result: TypeText, call: addMonths,
	},
	{
		Name: "dateDiff", Usage: "dateDiff(later, earlier[, unit])",
		Doc:     "The difference in seconds, or in days, hours, minutes or milliseconds.",
		Example: `dateDiff("2026-02-01", "2026-01-31", "hours")`,
		args:    "vv?t", result: TypeNumber, call: dateDiff,
	},
	{
		Name: "unix", Usage: "unix(date)",
		Doc:     "Seconds since 1970.",
		Example: `unix("2026-01-31T09:30:00Z")`,
		args:    "v", result: TypeNumber, call: unix,
	},
}

func now(c *call) (any, error) {
	if c.m.env.Now.IsZero() {
		return nil, c.fail("now() is not available here")
	}
	return c.m.env.Now.UTC().Format(dateLayout), c.allocText(len(dateLayout))
}

// dateArgs holds the constant arguments of a function of dates.
type dateArgs struct {
	layout dateLayouter   // nil if it varies or is absent
	zone   *time.Location // nil if it is absent
}

// prepareDate reads the constant layout in argument 1, and looks up the zone in
// argument 2, which must be constant.
func prepareDate(c *compiler, args []*node) any {
	prepared := &dateArgs{}
	if len(args) > 1 && args[1].fixed {
		if source, ok := args[1].value.(string); ok {
			layout, err := parseLayout(source)
			if err != nil {
				what, advice, found := strings.Cut(err.Error(), "; ")
				if !found {
					advice = "write a pattern such as \"yyyy-MM-dd'T'HH:mm:ssXXX\""
				}
				c.problem(args[1].site.pos, CodeValue, advice, "%s", what)
				return nil
			}
			prepared.layout = layout
		}
	}
	if len(args) <= 2 || args[2].typ == TypeNull {
		return prepared
	}
	name, ok := args[2].value.(string)
	if !args[2].fixed || !ok {
		c.problem(args[2].site.pos, CodeValue, `write a constant, such as "Europe/Berlin"`, "the time zone must be a constant")
		return nil
	}
	if prepared.zone = loadZone(name); prepared.zone == nil {
		c.problem(args[2].site.pos, CodeValue, `use a name from the IANA time zone database, such as "Europe/Berlin"`, "unknown time zone %q", name)
	}
	return prepared
}

// loadZone returns nil for unknown zones and for the machine's local zone,
// which differs between machines.
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
	if prepared, ok := c.prepared.(*dateArgs); ok {
		return prepared.zone
	}
	return nil
}

// layouts lists the formats that dates are parsed with if none is specified.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", "20060102",
	time.RFC1123Z, time.RFC1123, time.RFC850, time.ANSIC,
}

// date parses a date argument.
func (c *call) date(i int, zone *time.Location) (time.Time, error) {
	if zone == nil {
		zone = time.UTC
	}
	switch v := c.args[i].(type) {
	case string:
		if len(v) > 64 {
			break
		}
		for _, layout := range layouts {
			t, err := parseTime(layout, v, zone)
			if err == nil {
				return c.bounded(t)
			}
			var unknown *unknownZoneError
			if errors.As(err, &unknown) {
				return t, c.fail("%s", unknown)
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
	return time.Time{}, c.fail("argument %d is not a date such as 2026-01-31 or 2026-01-31T09:30:00Z; use date(text, layout) for other formats", i+1)
}

// bounded rejects years that RFC 3339 cannot represent.
func (c *call) bounded(t time.Time) (time.Time, error) {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return t, c.fail("the date is outside the years 0 to 9999")
	}
	return t, c.allocText(len(dateLayout))
}

// layout returns the layout in argument i.
func (c *call) layout(i int) (dateLayouter, error) {
	if prepared, ok := c.prepared.(*dateArgs); ok && prepared.layout != nil {
		return prepared.layout, nil
	}
	layout, err := parseLayout(c.text(i))
	if err != nil {
		return nil, c.fail("%s", err)
	}
	return layout, c.m.spend(c.site, int64(len(c.text(i))))
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
			return nil, c.site.mismatch(TypeText, c.args[0])
		}
		if t, err = layout.parse(text, zone); err != nil {
			return nil, c.fail("%s", err)
		}
		if t, err = c.bounded(t); err != nil {
			return nil, err
		}
	} else if t, err = c.date(0, c.zone()); err != nil {
		return nil, err
	}
	return t.UTC().Format(dateLayout), nil
}

func formatDate(c *call) (any, error) {
	t, err := c.date(0, nil)
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
	return layout.format(t), c.allocText(4 * len(c.text(1)))
}

// duration parses text such as 36h, -1d12h or 1w.
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
	t, err := c.date(0, nil)
	if err != nil {
		return nil, err
	}
	d, ok := duration(c.text(1))
	if !ok {
		return nil, c.fail(`invalid duration; write it like "36h", "-1d12h" or "2w"`)
	}
	if t, err = c.bounded(t.Add(d)); err != nil {
		return nil, err
	}
	return t.UTC().Format(dateLayout), nil
}

func addMonths(c *call) (any, error) {
	t, err := c.date(0, nil)
	if err != nil {
		return nil, err
	}
	n, err := c.integer(1)
	if err != nil {
		return nil, err
	}
	if n > 12*10_000 || n < -12*10_000 {
		return nil, c.fail("the date is outside the years 0 to 9999")
	}
	moved := t.AddDate(0, n, 0)
	if moved.Day() != t.Day() {
		moved = moved.AddDate(0, 0, -moved.Day())
	}
	if moved, err = c.bounded(moved); err != nil {
		return nil, err
	}
	return moved.UTC().Format(dateLayout), nil
}

func dateDiff(c *call) (any, error) {
	a, err := c.date(0, nil)
	if err != nil {
		return nil, err
	}
	b, err := c.date(1, nil)
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
	t, err := c.date(0, nil)
	if err != nil {
		return nil, err
	}
	n, err := exact.Div(exact.Int(t.UnixMilli()), exact.Int(1000))
	return n.Text(), err
}
