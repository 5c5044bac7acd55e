package expression

import (
	"fmt"
	"strings"
	"time"
)

// mailZones holds the offsets of the zone abbreviations of mail and feeds in
// hours (RFC 5322, section 4.3). Other abbreviations have several meanings.
var mailZones = map[string]int{
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "UT": 0, "GMT": 0, "UTC": 0, "Z": 0,
}

// unknownZoneError reports a zone abbreviation whose offset is not known.
type unknownZoneError struct{ name string }

func (e *unknownZoneError) Error() string {
	return fmt.Sprintf("unknown time zone %q: only UTC, GMT and the American abbreviations of mail are known; write an offset such as +01:00, "+
		"or pass the zone as the third argument", e.name)
}

// parseTime parses text that may name a time zone. The abbreviations of zone
// and of mail are known. Package time treats every other one as UTC, so it is an
// *unknownZoneError here.
func parseTime(layout, text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(layout, text, zone)
	if err != nil || !strings.Contains(layout, "MST") || strings.Contains(layout, "-07") || strings.Contains(layout, "Z07") {
		return t, err
	}
	name, offset := t.Zone()
	if offset != 0 || name == "" || t.Location() == zone || t.Location() == time.UTC || strings.HasPrefix(name, "GMT") {
		return t, nil
	}
	hours, known := mailZones[name]
	if !known {
		return t, &unknownZoneError{name}
	}
	return t.Add(-time.Duration(hours) * time.Hour).In(time.FixedZone(name, hours*3600)), nil
}
