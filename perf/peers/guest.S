# SPDX-License-Identifier: GPL-2.0-only
# A hypervisor of one disk: boots to 64-bit mode, runs a guest that loops over CPUID, counts exits.
#
# Assembled twice, with --defsym VMX=1 or VMX=0 (then SVM). Each exit is told as v4.19's run loop
# tells it: under VMX seven VMREADs and one VMWRITE. The end goes to both emulators' exit ports.

	.set MSR_EFER, 0xc0000080
	.set PML4, 0x10000
	.set VMXON_REGION, 0x20000
	.set VMCS, 0x21000
	.set TSS, 0x22000
	.set HSAVE, 0x23000
	.set VMCB, 0x24000
	.set CODE64, 0x18
	.set DATA, 0x10
	.set TASK, 0x20
	.set SECTORS, 7

	.code16
	.globl _start
_start:	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	ljmp $0, $load
load:	mov $0x0200 | SECTORS, %ax	# read what follows the first sector
	mov $0x0002, %cx
	mov $0, %dh
	mov $0x7e00, %bx
	int $0x13
	jc load
	in $0x92, %al			# A20
	or $2, %al
	and $0xfe, %al
	out %al, $0x92
	cli
	lgdtl gdtr
	mov %cr0, %eax
	or $0x21, %eax			# PE, NE
	mov %eax, %cr0
	ljmpl $0x08, $protected

	.balign 8
gdt:	.quad 0
	.quad 0x00cf9b000000ffff	# 0x08: code, 32 bits
	.quad 0x00cf93000000ffff	# 0x10: data
	.quad 0x00af9b000000ffff	# 0x18: code, 64 bits
	.quad 0x00008b0000000067 | (TSS & 0xffff) << 16 | (TSS >> 16) << 32
	.quad 0
gdtr:	.word . - gdt - 1
	.long gdt

	.org 496
exits:	.quad 1000000			# written over: how many exits until the end
	.org 510
	.word 0xaa55

	.code32
protected:
	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $0x7c00, %esp
	mov $PML4, %edi
	mov $0x16000 / 4, %ecx
	xor %eax, %eax
	rep stosl
	movl $PML4 + 0x1003, PML4
	movl $PML4 + 0x2003, PML4 + 0x1000
	mov $PML4 + 0x2000, %edi	# the first gigabyte in pages of 2 MiB
	mov $0x83, %eax
	mov $512, %ecx
1:	mov %eax, (%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	mov $0x20, %eax			# PAE
	mov %eax, %cr4
	mov $PML4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x100, %eax			# LME
	.if VMX == 0
	or $0x1000, %eax		# SVME
	.endif
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	ljmp $CODE64, $long

	.code64
guest:	mov $0, %eax			# what L2 is, here as everywhere
	cpuid
	jmp guest

end:	mov $0x10, %al			# 0x21 is the status of a whole run
	jmp 1f
failed:	mov $0x7f, %al
1:	mov $0xf4, %dx
	out %al, %dx
	mov $0x402, %dx			# and a letter on the debug port, before the machine goes down
	add $'A' - 0x10, %al
	out %al, %dx
	mov $0x8900, %dx
	mov $shutdown, %esi
	mov $8, %ecx
	rep outsb
	cli
	hlt
shutdown:
	.ascii "Shutdown"

long:	mov exits, %r15
	mov $DATA, %eax
	mov %eax, %ss
	.if VMX

	mov $TASK, %eax
	andb $0xfd, gdt + TASK + 5	# available, until LTR makes it busy
	ltr %ax
	mov $0x3a, %ecx			# IA32_FEATURE_CONTROL: locked, VMXON allowed
	rdmsr
	test $1, %al
	jnz 1f
	or $5, %al
	wrmsr
1:	mov %cr4, %rax
	or $0x2000, %rax
	mov %rax, %cr4
	mov $0x480, %ecx
	rdmsr
	and $0x7fffffff, %eax
	mov %eax, VMXON_REGION
	mov %eax, VMCS
	movq $VMXON_REGION, pointer
	vmxon pointer
	jbe failed
	movq $VMCS, pointer
	vmclear pointer
	jbe failed
	vmptrld pointer
	jbe failed

	# controls: what must be set, and the two that 64-bit code needs
	mov $controls, %esi
1:	mov (%rsi), %ecx
	test %ecx, %ecx
	jz 2f
	rdmsr
	or 8(%rsi), %eax
	and %edx, %eax
	mov 4(%rsi), %edi
	vmwrite %rax, %rdi
	jbe failed
	add $12, %rsi
	jmp 1b
2:	mov $fields, %esi
1:	mov (%rsi), %edi
	mov 8(%rsi), %rax
	test %edi, %edi
	js 2f
	vmwrite %rax, %rdi
	jbe failed
	add $16, %rsi
	jmp 1b
2:	mov %cr0, %rax
	mov $0x6800, %edi
	vmwrite %rax, %rdi
	mov $0x6c00, %edi
	vmwrite %rax, %rdi
	mov %cr4, %rax
	mov $0x6804, %edi
	vmwrite %rax, %rdi
	mov $0x6c04, %edi
	vmwrite %rax, %rdi
	vmlaunch
	jmp failed

exit:	mov $0x4402, %edi		# the exit reason
	vmread %rdi, %rax
	cmp $10, %eax			# CPUID
	jne failed
	mov $0x4408, %edi		# IDT vectoring
	vmread %rdi, %rbx
	mov $0x4404, %edi		# the interruption
	vmread %rdi, %rbx
	mov $0x6400, %edi		# the qualification
	vmread %rdi, %rbx
	mov $0x4824, %edi		# interruptibility
	vmread %rdi, %rbx
	mov $0x440c, %edi		# the length
	vmread %rdi, %rbx
	mov $0x681e, %edi		# RIP
	vmread %rdi, %rax
	add %rbx, %rax
	vmwrite %rax, %rdi
	dec %r15
	jz end
	vmresume
	jmp failed

pointer:
	.quad 0
	.balign 4
controls:	# capability MSR, field, what is asked for
	.long 0x481, 0x4000, 0
	.long 0x482, 0x4002, 0
	.long 0x483, 0x400c, 0x200	# the host in 64-bit mode
	.long 0x484, 0x4012, 0x200	# the guest too
	.long 0
	.balign 8
fields:
	.quad 0x4004, 0, 0x4006, 0, 0x4008, -1, 0x400a, 0, 0x400e, 0, 0x4010, 0
	.quad 0x4014, 0, 0x4016, 0, 0x401a, 0, 0x6000, 0, 0x6002, 0
	.quad 0x2800, -1, 0x2802, 0
	.quad 0x0800, 0, 0x0802, CODE64, 0x0804, DATA, 0x0806, 0, 0x0808, 0, 0x080a, 0, 0x080c, 0
	.quad 0x080e, TASK
	.quad 0x4800, 0, 0x4802, -1, 0x4804, -1, 0x4806, 0, 0x4808, 0, 0x480a, 0, 0x480c, 0
	.quad 0x480e, 0x67, 0x4810, 0x2f, 0x4812, 0
	.quad 0x4814, 0x10000, 0x4816, 0xa09b, 0x4818, 0xc093, 0x481a, 0x10000, 0x481c, 0x10000
	.quad 0x481e, 0x10000, 0x4820, 0x10000, 0x4822, 0x8b
	.quad 0x4824, 0, 0x4826, 0, 0x482a, 0
	.quad 0x6802, PML4, 0x6806, 0, 0x6808, 0, 0x680a, 0, 0x680c, 0, 0x680e, 0, 0x6810, 0
	.quad 0x6812, 0, 0x6814, TSS, 0x6816, gdt, 0x6818, 0, 0x681a, 0x400
	.quad 0x681c, 0x7a00, 0x681e, guest, 0x6820, 2, 0x6822, 0, 0x6824, 0, 0x6826, 0
	.quad 0x0c00, 0, 0x0c02, CODE64, 0x0c04, DATA, 0x0c06, 0, 0x0c08, 0, 0x0c0a, 0, 0x0c0c, TASK
	.quad 0x4c00, 0
	.quad 0x6c02, PML4, 0x6c06, 0, 0x6c08, 0, 0x6c0a, TSS, 0x6c0c, gdt, 0x6c0e, 0, 0x6c10, 0
	.quad 0x6c12, 0, 0x6c14, 0x7c00, 0x6c16, exit
	.quad -1, 0

	.else

	mov $0xc0010117, %ecx		# VM_HSAVE_PA
	mov $HSAVE, %eax
	xor %edx, %edx
	wrmsr
	movl $1 << 18, VMCB + 0x00c	# CPUID is intercepted,
	movl $1, VMCB + 0x010		# and VMRUN, as it must be
	movl $1, VMCB + 0x058		# the ASID
	movl $0x0a9b << 16 | CODE64, VMCB + 0x410
	movl $-1, VMCB + 0x414
	movl $0x0c93 << 16 | DATA, VMCB + 0x420
	movl $-1, VMCB + 0x424
	mov %cr0, %rax
	mov %rax, VMCB + 0x558
	movq $PML4, VMCB + 0x550
	mov %cr4, %rax
	mov %rax, VMCB + 0x548
	movl $0x1500, VMCB + 0x4d0	# EFER: LMA, LME, SVME
	movl $0x400, VMCB + 0x560
	movl $0xffff0ff0, VMCB + 0x568
	movl $2, VMCB + 0x570
	movl $guest, VMCB + 0x578
	movl $0x7a00, VMCB + 0x5d8
	movl $0x00070106, VMCB + 0x668	# the PAT
	movl $0x00070406, VMCB + 0x66c
1:	mov $VMCB, %eax
	vmrun
	cmpl $0x72, VMCB + 0x070	# CPUID
	jne failed
	addq $2, VMCB + 0x578
	dec %r15
	jnz 1b
	jmp end

	.endif
	.org 512 * (SECTORS + 1)
