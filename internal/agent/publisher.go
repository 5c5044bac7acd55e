package agent

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"valence/internal/wire"
)

// serialKey names what serials are counted for.
func serialKey(project, environment string) string { return project + "\n" + environment }

// vouched holds a deployment against what its publisher says of it.
func (a *Agent) vouched(o *owner, environment string, serials map[string]int64, v *version) error {
	if len(o.Statement) == 0 {
		return never("the package of %s has no publisher's signature, and this atom asks for one", o.Project)
	}
	s, err := wire.ReadStatement(o.Statement, o.Signature, a.publishers)
	if err != nil {
		return never("the package of %s: %w", o.Project, err)
	}
	switch {
	case s.Project != o.Project:
		return never("the publisher's statement is of the project %s, not of %s", s.Project, o.Project)
	case s.Environment != environment:
		return never("the publisher's statement is for the environment %s, not for %s", s.Environment, environment)
	case s.Package != o.Package:
		return never("the publisher's statement is of another package than the one of %s", o.Project)
	}
	if err := a.moved(environment, serials); err != nil {
		return err
	}
	key := serialKey(s.Project, s.Environment)
	if newest := serials[key]; s.Serial < newest {
		return never("the publisher's statement for %s has the serial %d, and this atom has seen %d: it is an old one", o.Project, s.Serial, newest)
	}
	if v.serials == nil {
		v.serials = map[string]int64{}
	}
	v.serials[key] = max(v.serials[key], s.Serial)
	o.statement = s
	return nil
}

// moved holds the environment that the control plane names against the one that
// this atom is for: where it joined or, if that was in none, where it ran
// something first. Otherwise one that was taken over could have an atom run
// what was signed for another environment.
func (a *Agent) moved(environment string, serials map[string]int64) error {
	home := a.id.Environment
	for key := range serials {
		if _, seen, _ := strings.Cut(key, "\n"); home == "" {
			home = seen
		}
	}
	if home != "" && home != environment {
		return never("this atom runs what publishers sign for the environment %s, and the control plane says that it is in %s; to move it, join it again: valence join URL --again", home, environment)
	}
	return nil
}

// allowed holds a field that the control plane sets against what the publisher
// lets it set, and every host in its value against those it may name.
func allowed(o *owner, field, value string) error {
	if !o.statement.AllowsField(field) {
		return never("the publisher of %s does not let the environment set %s", o.Project, field)
	}
	if strings.HasPrefix(field, "secret.") && !strings.Contains(value, "://") {
		return nil // a secret may look like anything
	}
	for _, host := range hostsIn(value) {
		switch {
		case o.statement.AllowsHost(host):
		case strings.HasPrefix(field, "secret."): // what is no host may be anything that is in it
			return never("the publisher of %s does not let %s lead to a host that is in its value", o.Project, field)
		default:
			return never("the publisher of %s does not let %s lead to the host %s", o.Project, field, host)
		}
	}
	return nil
}

var (
	urlLike  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*:/*[^\s"',;]+|//[^\s"',;]+`)
	hostLike = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_-]+)*\.[a-z][a-z0-9-]*|localhost)\.?$`)
)

// hostsIn finds everything in a value that may be taken for the name of a host:
// those of URLs, and words that look like one.
func hostsIn(value string) []string {
	var hosts []string
	for _, text := range urlLike.FindAllString(value, -1) {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			hosts = append(hosts, u.Host)
		} else if strings.Contains(text, "//") {
			hosts = append(hosts, text) // no publisher's list holds it
		}
	}
	// A host may hold characters that end a URL among words.
	if u, err := url.Parse(strings.TrimSpace(value)); err == nil && u.Host != "" {
		hosts = append(hosts, u.Host)
	}
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"',;{}()<>=|&?#", r) }) {
		if strings.Contains(word, "//") {
			continue
		}
		word, _, _ = strings.Cut(word, "/")
		word = strings.TrimLeft(word[strings.LastIndex(word, "@")+1:], ".")
		host, _, err := net.SplitHostPort(word)
		if err != nil {
			host = word
		}
		if looksLikeHost(host) {
			hosts = append(hosts, word)
		}
	}
	return hosts
}

// looksLikeHost reports whether a word may be a host or an address. One that is
// not ASCII is, where it has a dot of any alphabet (RFC 3490, 3.1).
func looksLikeHost(word string) bool {
	if strings.ContainsFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ContainsAny(word, ".\u3002\uff0e\uff61")
	}
	_, err := netip.ParseAddr(strings.Trim(word, "[]"))
	return err == nil || hostLike.MatchString(word)
}
