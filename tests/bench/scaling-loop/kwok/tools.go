//go:build tools

// Package kwok pins the program that plays a thousand kubelets. It is apart from the node's programs, which need not be
// compiled again because of it.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
