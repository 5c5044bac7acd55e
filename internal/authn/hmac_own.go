package authn

import (
	"net/http"
	"strings"
)

// ownForm is a signature that is described by settings instead of a preset.
type ownForm struct {
	header     string // canonical name of the signature header
	prefix     string // before each signature
	mustPrefix bool   // signatures without the prefix are ignored
	timestamp  string // header with the signed time; "" if there is none
	id         string // header with the signed id of the message; likewise
	before     string // signed text before the body, with placeholders
	after      string // and after it
}

// Placeholders of the setting `signed`.
const (
	signedID        = "{id}"
	signedTimestamp = "{timestamp}"
	signedBody      = "{body}"
)

// signs reads the setting `signed`, the text that the signature covers. By
// default it is the id, the time and the body, as far as they are set, with dots
// between them.
func (f *ownForm) signs(s *settings) {
	text := signedBody
	if f.timestamp != "" {
		text = signedTimestamp + "." + text
	}
	if f.id != "" {
		text = signedID + "." + text
	}
	if s.has("signed") {
		text = s.text("signed")
	}
	for _, msg := range SignedProblems(text, f.timestamp != "", f.id != "") {
		s.problem("signed: %s", msg)
	}
	f.before, f.after, _ = strings.Cut(text, signedBody)
}

// SignedProblems returns the problems of the setting `signed`, for a signature
// with or without a timestamp and an id.
func SignedProblems(text string, timestamp, id bool) (wrong []string) {
	for _, p := range []struct {
		placeholder, setting string
		set                  bool
	}{{signedTimestamp, "timestamp", timestamp}, {signedID, "id", id}} {
		switch is := strings.Contains(text, p.placeholder); {
		case is && !p.set:
			wrong = append(wrong, "contains "+p.placeholder+", but "+p.setting+" is not set: name the header that carries it")
		case !is && p.set:
			wrong = append(wrong, "does not contain "+p.placeholder+", so that "+p.setting+" would not be protected")
		}
	}
	rest := strings.NewReplacer(signedID, "", signedTimestamp, "", signedBody, "").Replace(text)
	if strings.Count(text, signedBody) != 1 || strings.ContainsAny(rest, "{}") {
		wrong = append(wrong, "must contain {body} once and no other placeholders than {id} and {timestamp}, such as `v0:{timestamp}:{body}`")
	}
	return wrong
}

// read returns the signatures of the header, separated by commas or spaces.
func (f *ownForm) read(r *http.Request) (c claim, ok bool) {
	value, once := single(r, f.header)
	if !once {
		return c, false
	}
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		mac, found := strings.CutPrefix(part, f.prefix)
		if found || !f.mustPrefix {
			c.add(mac)
		}
	}
	var stamp, id string
	if f.timestamp != "" {
		if stamp, c.unix, ok = unixHeader(r, f.timestamp); !ok {
			return c, false
		}
	}
	if f.id != "" {
		if id, ok = single(r, f.id); !ok || id == "" {
			return c, false
		}
	}
	fill := strings.NewReplacer(signedID, id, signedTimestamp, stamp)
	c.before, c.after = fill.Replace(f.before), fill.Replace(f.after)
	return c, true
}
