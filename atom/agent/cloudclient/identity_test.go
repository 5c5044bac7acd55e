package cloudclient

import (
	"net/http"
	"testing"
	"time"
)

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"https://cloud.example/":          "https://cloud.example",
		"https://Cloud.Example:8443":      "https://cloud.example:8443",
		"http://127.0.0.1:9092":           "http://127.0.0.1:9092",
		"http://localhost:9092":           "http://localhost:9092",
		"http://cloud.example":            "",
		"cloud.example":                   "",
		"ftp://cloud.example":             "",
		"https://user:pw@cloud.example":   "",
		"https://cloud.example/some/path": "",
		"":                                "",
	} {
		if got, err := NormalizeAddress(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
}

// Dates count from the Date of the response.
func TestRetryAfterByDate(t *testing.T) {
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		at.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second, at.Add(-time.Minute).Format(http.TimeFormat): 0,
		at.Add(48 * time.Hour).Format(http.TimeFormat): time.Hour, "7": 7 * time.Second, "-7": 0, "soon": 0, "": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}, "Date": {at.Format(http.TimeFormat)}}); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
