package cli

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/agent"
)

// reachError tells what to do where a control plane does not do what was asked.
func reachError(address string, err error) error {
	refused := (*agent.Refused)(nil)
	if errors.As(err, &refused) {
		switch {
		case strings.HasSuffix(refused.Code, "_token"):
			return wrong("valence cloud install-token, for a new one", "%s", refused.Refusal.Error)
		case refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusTooManyRequests:
			return failed("the same again in a few seconds", "%v", err)
		case refused.Code == "":
			return noPlane(address, refused.Status)
		}
		return advised(refused.Refusal.Error)
	}
	if said := way(address, err); said != nil {
		return said
	}
	if cause := (*url.Error)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	return failed("whether it runs, and whether this machine is let out to it (HTTPS_PROXY=…)", "%s does not answer: %v", address, err)
}

// way tells what to do where something on the way to a control plane is wrong:
// its certificate, its name, a proxy. It is nil where that cannot be told.
func way(address string, err error) error {
	authority, name, invalid := (x509.UnknownAuthorityError{}), (x509.HostnameError{}), (x509.CertificateInvalidError{})
	proxy, dns, op := (*agent.ProxyError)(nil), (*net.DNSError)(nil), (*net.OpError)(nil)
	switch {
	case errors.As(err, &authority):
		return failed("--ca FILE with the certificate of its authority", "the certificate of %s is of an authority that this machine, or the file of --ca, does not have", address)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return failed("a renewed certificate there, or the right time on this machine", "the certificate of %s is not valid now: %v", address, invalid)
	case errors.As(err, &name):
		return failed("the name that is in its certificate", "%v", name)
	case errors.As(err, &proxy) && (proxy.Status == http.StatusProxyAuthRequired || proxy.Status == http.StatusUnauthorized):
		return failed("HTTPS_PROXY=http://USER:PASSWORD@"+proxy.Host+", as its operator gave them", "%v", proxy)
	case errors.As(err, &proxy):
		return failed("whether the proxy may let this machine through to "+address, "%v", proxy)
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return failed("the address in HTTPS_PROXY, or NO_PROXY for a control plane that needs none", "the proxy does not answer: %v", op.Err)
	case errors.As(err, &dns):
		return failed("the address of a control plane; HTTPS_PROXY=… where only a proxy is let out", "%v", dns)
	}
	return nil
}

// noPlane tells what to do where an answer is not one of a control plane.
func noPlane(address string, status int) error {
	if host, plain := strings.CutPrefix(address, "http://"); plain && status == http.StatusBadRequest {
		return failed("https://"+host, "what answers at %s is no control plane; it may be one that asks for TLS", address)
	}
	return failed("the address of a control plane", "what answers at %s is no control plane: %d %s", address, status, http.StatusText(status))
}

// closed is an error where this user may not look into a data folder, nil if
// that is not why nothing was found there.
func closed(folder, file string) error {
	if _, err := os.Stat(filepath.Join(folder, file)); !errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return notOwner(folder)
}

func notOwner(folder string) error {
	return failed("the same as the user that it runs as, such as: sudo -u valence valence …", "the data folder %s is not open to this user", folder)
}
