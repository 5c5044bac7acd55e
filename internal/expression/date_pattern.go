package expression

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// dateLayouter formats and parses dates in the layout of an author.
type dateLayouter interface {
	format(t time.Time) string
	parse(text string, zone *time.Location) (time.Time, error)
}

// goLayout is a layout in the notation of Go: how the reference date
// 2006-01-02 15:04:05 looks.
type goLayout string

func (l goLayout) format(t time.Time) string { return t.Format(string(l)) }

func (l goLayout) parse(text string, zone *time.Location) (time.Time, error) {
	t, err := parseTime(string(l), text, zone)
	var unknown *unknownZoneError
	if errors.As(err, &unknown) {
		return t, err
	}
	if err != nil {
		return t, errors.New("the text does not match the layout") // Go's error quotes the text, which may be secret
	}
	return t, nil
}

// parseLayout returns the layout, which is a Unicode pattern such as
// yyyy-MM-dd (UTS 35) or a layout of Go.
func parseLayout(source string) (dateLayouter, error) {
	if len(source) > 256 {
		return nil, errors.New("the layout is longer than 256 bytes")
	}
	if !isGoLayout(source) || hasUnicodeField(source) {
		return parseDatePattern(source)
	}
	return goLayout(source), nil
}

// isGoLayout reports whether a layout has a part of Go's reference date.
func isGoLayout(source string) bool {
	a := time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
	b := time.Date(1998, 12, 31, 7, 48, 39, 0, time.FixedZone("X", 3600))
	return a.Format(source) != b.Format(source)
}

// hasUnicodeField reports whether the layout has a field of two letters, such as
// yy or MM, outside of quotes.
func hasUnicodeField(source string) bool {
	quoted := false
	for i := range len(source) {
		if source[i] == '\'' {
			quoted = !quoted
		}
		if !quoted && i > 0 && source[i] == source[i-1] && strings.IndexByte("yuYMLdDHhmsSE", source[i]) >= 0 {
			return true
		}
	}
	return false
}

// dateField is a field of a Unicode pattern, or literal text if letter is 0.
type dateField struct {
	letter byte
	count  int
	text   string
	fixed  bool // exactly count digits, because another number follows
}

type datePattern []dateField

// dateLetters lists the letters of patterns with their longest run.
var dateLetters = map[byte]int{
	'y': 4, 'u': 4, 'M': 4, 'L': 4, 'd': 2, 'H': 2, 'h': 2, 'm': 2, 's': 2, 'S': 9, 'a': 1, 'E': 4, 'X': 3, 'x': 3, 'Z': 5, 'z': 1,
}

func parseDatePattern(source string) (datePattern, error) {
	var p datePattern
	literal := func(s string) {
		if n := len(p); n > 0 && p[n-1].letter == 0 {
			p[n-1].text += s
			return
		}
		p = append(p, dateField{text: s})
	}
	fields := 0
	for i := 0; i < len(source); {
		c := source[i]
		switch {
		case c == '\'':
			text, n := quotedText(source[i:])
			if n == 0 {
				return nil, errors.New("the layout has a quote without an end")
			}
			literal(text)
			i += n
			continue
		case (c|0x20) < 'a' || (c|0x20) > 'z':
			literal(source[i : i+1])
			i++
			continue
		}
		n := 1
		for i+n < len(source) && source[i+n] == c {
			n++
		}
		if err := checkDateField(c, n, source[i:i+n]); err != nil {
			return nil, err
		}
		p = append(p, dateField{letter: c, count: n})
		fields++
		i += n
	}
	if fields == 0 {
		return nil, errors.New("the layout contains no part of a date; write a pattern such as yyyy-MM-dd HH:mm")
	}
	for i := range p {
		p[i].fixed = i+1 < len(p) && p[i].numeric() && p[i+1].numeric()
	}
	return p, nil
}

// quotedText returns the text in the quotes at the start of s and the length of
// its source, or 0 if it has no end. Two quotes are a quote.
func quotedText(s string) (text string, n int) {
	if strings.HasPrefix(s, "''") {
		return "'", 2
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '\'':
			text += s[i : i+1]
		case strings.HasPrefix(s[i:], "''"):
			text += "'"
			i++
		default:
			return text, i + 1
		}
	}
	return "", 0
}

// checkDateField rejects a run of letters that is no field.
func checkDateField(c byte, n int, run string) error {
	most, ok := dateLetters[c]
	switch {
	case c == 'Y':
		return fmt.Errorf("`%s` is the year of the week, which differs from the calendar year around New Year; write %s", run, strings.Repeat("y", n))
	case c == 'D':
		return fmt.Errorf("`%s` is the day of the year; the day of the month is %s", run, strings.Repeat("d", min(n, 2)))
	case !ok:
		return fmt.Errorf("the layout has no field `%s`; put text in single quotes, as in yyyy-MM-dd'T'HH:mm:ss", run)
	case n > most, (c == 'y' || c == 'u') && n == 3:
		return fmt.Errorf("the layout has no field `%s`; the longest is %s", run, strings.Repeat(string(c), most))
	}
	return nil
}

func (f *dateField) numeric() bool {
	switch f.letter {
	case 'y', 'u', 'd', 'H', 'h', 'm', 's', 'S':
		return true
	case 'M', 'L':
		return f.count < 3
	}
	return false
}

func (p datePattern) format(t time.Time) string {
	var b []byte
	for _, f := range p {
		switch f.letter {
		case 0:
			b = append(b, f.text...)
		case 'y', 'u':
			if f.count == 2 {
				b = pad(b, t.Year()%100, 2)
			} else {
				b = pad(b, t.Year(), f.count)
			}
		case 'M', 'L':
			switch f.count {
			case 4:
				b = append(b, t.Month().String()...)
			case 3:
				b = append(b, t.Month().String()[:3]...)
			default:
				b = pad(b, int(t.Month()), f.count)
			}
		case 'd':
			b = pad(b, t.Day(), f.count)
		case 'H':
			b = pad(b, t.Hour(), f.count)
		case 'h':
			b = pad(b, (t.Hour()+11)%12+1, f.count)
		case 'm':
			b = pad(b, t.Minute(), f.count)
		case 's':
			b = pad(b, t.Second(), f.count)
		case 'S':
			b = append(b, fmt.Sprintf("%09d", t.Nanosecond())[:f.count]...)
		case 'a':
			b = t.AppendFormat(b, "PM")
		case 'E':
			if f.count == 4 {
				b = append(b, t.Weekday().String()...)
			} else {
				b = append(b, t.Weekday().String()[:3]...)
			}
		case 'z':
			b = t.AppendFormat(b, "MST")
		default:
			b = t.AppendFormat(b, offsetLayout(f))
		}
	}
	return string(b)
}

func pad(b []byte, n, width int) []byte {
	s := strconv.Itoa(n)
	for i := len(s); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, s...)
}

// offsetLayout returns Go's layout of an offset field: X with Z for UTC, x and Z
// without.
func offsetLayout(f dateField) string {
	switch {
	case f.letter == 'Z' && f.count == 5, f.letter == 'X' && f.count == 3:
		return "Z07:00"
	case f.letter == 'X' && f.count == 2:
		return "Z0700"
	case f.letter == 'X':
		return "Z07"
	case f.letter == 'x' && f.count == 3, f.letter == 'Z' && f.count == 4:
		return "-07:00"
	case f.letter == 'x' && f.count == 1:
		return "-07"
	}
	return "-0700"
}

// dateParts are the parts of a date that parsing finds.
type dateParts struct {
	year, month, day, hour, minute, second, nano int
	half, evening                                bool
	zone                                         *time.Location
	abbreviation                                 string // of the zone, or ""
}

func (p datePattern) parse(text string, zone *time.Location) (time.Time, error) {
	d := dateParts{year: 1970, month: 1, day: 1, zone: zone}
	for _, f := range p {
		rest, err := d.read(f, text)
		if err != nil {
			return time.Time{}, fmt.Errorf("the text does not match the layout: %w", err)
		}
		text = rest
	}
	if text != "" {
		return time.Time{}, errors.New("the text does not match the layout: it is longer")
	}
	if d.half {
		if d.hour < 1 || d.hour > 12 {
			return time.Time{}, errors.New("the hour is not between 1 and 12")
		}
		d.hour %= 12
		if d.evening {
			d.hour += 12
		}
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, d.second, d.nano, d.zone)
	if d.month < 1 || d.month > 12 || d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 59 || time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Day() != d.day {
		return time.Time{}, errors.New("the date does not exist")
	}
	if d.abbreviation != "" {
		const layout = "2006-01-02 15:04:05.000000000"
		return parseTime(layout+" MST", t.Format(layout)+" "+d.abbreviation, zone)
	}
	return t, nil
}

// read reads a field from the start of text.
func (d *dateParts) read(f dateField, text string) (rest string, err error) {
	switch f.letter {
	case 0:
		rest, ok := strings.CutPrefix(text, f.text)
		if !ok {
			return "", errors.New("its fixed text differs")
		}
		return rest, nil
	case 'a':
		if len(text) < 2 || text[1]|0x20 != 'm' || text[0]|0x20 != 'a' && text[0]|0x20 != 'p' {
			return "", errors.New("AM or PM is missing")
		}
		d.half, d.evening = true, text[0]|0x20 == 'p'
		return text[2:], nil
	case 'E':
		return readName(text, f.count == 4, 7, func(i int) string { return time.Weekday(i).String() }, func(int) {})
	case 'M', 'L':
		if f.count > 2 {
			return readName(text, f.count == 4, 12, func(i int) string { return time.Month(i + 1).String() }, func(i int) { d.month = i + 1 })
		}
	case 'X', 'x', 'Z', 'z':
		return d.readZone(f, text)
	}
	return d.readNumber(f, text)
}

// readName reads a name of a month or a weekday, in any case.
func readName(text string, full bool, n int, name func(i int) string, found func(i int)) (rest string, err error) {
	for i := range n {
		want := name(i)
		if !full {
			want = want[:3]
		}
		if len(text) >= len(want) && strings.EqualFold(text[:len(want)], want) {
			found(i)
			return text[len(want):], nil
		}
	}
	return "", errors.New("the name of a month or weekday is unknown; names are English")
}

func (d *dateParts) readNumber(f dateField, text string) (rest string, err error) {
	least, most := 1, 2
	switch {
	case f.letter == 'S':
		least, most = f.count, f.count
	case (f.letter == 'y' || f.letter == 'u') && f.count != 2:
		least, most = 4, 4
	case f.fixed || f.count == 2:
		least, most = f.count, f.count
	}
	n := 0
	for n < len(text) && n < most && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	if n < least {
		return "", fmt.Errorf("`%s` needs %d digits", strings.Repeat(string(f.letter), f.count), least)
	}
	v, _ := strconv.Atoi(text[:n])
	switch f.letter {
	case 'y', 'u':
		if d.year = v; f.count == 2 { // as Go does: 69 to 99 are in the last century
			d.year += 2000
			if v >= 69 {
				d.year -= 100
			}
		}
	case 'M', 'L':
		d.month = v
	case 'd':
		d.day = v
	case 'H':
		d.hour = v
	case 'h':
		d.hour, d.half = v, true
	case 'm':
		d.minute = v
	case 's':
		d.second = v
	case 'S':
		for range 9 - n {
			v *= 10
		}
		d.nano = v
	}
	return text[n:], nil
}

// readZone reads an offset such as Z, +01, +0100 or +01:00, or an abbreviation.
func (d *dateParts) readZone(f dateField, text string) (rest string, err error) {
	if f.letter == 'z' {
		n := 0
		for n < len(text) && n < 6 && (text[n]|0x20) >= 'a' && (text[n]|0x20) <= 'z' {
			n++
		}
		if n == 0 {
			return "", errors.New("the abbreviation of the time zone is missing")
		}
		d.abbreviation = strings.ToUpper(text[:n])
		return text[n:], nil
	}
	if rest, ok := strings.CutPrefix(text, "Z"); ok {
		d.zone = time.UTC
		return rest, nil
	}
	layout := strings.Replace(offsetLayout(f), "Z", "-", 1)
	if len(text) < len(layout) {
		return "", errors.New("the offset from UTC is missing")
	}
	t, err := time.Parse(layout, text[:len(layout)])
	if err != nil {
		return "", errors.New("the offset from UTC has another form")
	}
	d.zone = t.Location()
	return text[len(layout):], nil
}
