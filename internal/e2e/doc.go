// Package e2e tests the program from the outside: the binary that users run, in the lab's
// namespaces, against what the kernel and the fabric know. It has nothing but tests.
//
// What only the clock of the machine could show (steps) is tested elsewhere with an injected one.
package e2e
